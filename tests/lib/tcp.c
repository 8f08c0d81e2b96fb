/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/tcp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int check(int rc, const char *what)
{
	if (rc < 0) {
		perror(what);
		abort();
	}
	return rc;
}

int tcp_connect(const char *host, unsigned port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = in.sin_port};
	if (inet_pton(AF_INET, host, &in.sin_addr) == 1) {
		int fd = check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
		check(connect(fd, (struct sockaddr *)&in, sizeof in), "connect");
		return fd;
	}
	check(inet_pton(AF_INET6, host, &in6.sin6_addr) - 1, "inet_pton");
	int fd = check(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
	check(connect(fd, (struct sockaddr *)&in6, sizeof in6), "connect");
	return fd;
}

void tcp_pair(int ret[2])
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof in;
	int l = check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
	check(bind(l, (struct sockaddr *)&in, sizeof in), "bind");
	check(listen(l, 1), "listen");
	check(getsockname(l, (struct sockaddr *)&in, &n), "getsockname");
	ret[1] = tcp_connect("127.0.0.1", ntohs(in.sin_port));
	ret[0] = check(accept4(l, NULL, NULL, SOCK_CLOEXEC), "accept");
	close(l);
}

void tcp_send(int fd, const void *p, size_t n)
{
	while (n > 0) {
		ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
		check((int)(sent < 0 ? -1 : 0), "send");
		p = (const char *)p + sent;
		n -= (size_t)sent;
	}
}

long tcp_recv(int fd, void *p, size_t n)
{
	size_t got = 0;
	while (got < n) {
		ssize_t more = recv(fd, (char *)p + got, n - got, 0);
		if (more < 0 && errno == ECONNRESET)
			return -1;
		check((int)(more < 0 ? -1 : 0), "recv");
		if (more == 0)
			break;
		got += (size_t)more;
	}
	return (long)got;
}
