/* SPDX-License-Identifier: Apache-2.0
 *
 * Blocking TCP sockets on the loopback interface, for tests. Each call ends the test if it fails.
 */
#ifndef WARREN_TESTS_LIB_TCP_H
#define WARREN_TESTS_LIB_TCP_H

#include <stddef.h>

/* Two connected sockets. */
void tcp_pair(int ret[2]);
int tcp_connect(const char *host, unsigned port);
void tcp_send(int fd, const void *p, size_t n);
/* Reads up to n bytes, fewer only at the end; returns how many; -1: the connection was reset. */
long tcp_recv(int fd, void *p, size_t n);

#endif
