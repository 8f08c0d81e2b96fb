/* SPDX-License-Identifier: Apache-2.0
 *
 * A kind of stream without sockets, in place of src/net/stream_tcp.c. The test is the peer: it
 * says what arrives, may stop reading, and each octet sent to it is checked.
 */
#ifndef WARREN_TESTS_FUZZ_FAKE_STREAM_H
#define WARREN_TESTS_FUZZ_FAKE_STREAM_H

#include "src/net/stream.h"

/* The stream whose `fd` was given to stream_tcp_new(), or NULL if it is gone. */
struct stream *fake_stream(int fd);
/* Octets arrive; returns how many were taken: fewer if reading is paused. */
size_t fake_arrive(int fd, struct slice s);
/* The peer reads no more, or again. */
void fake_stall(int fd, bool stall);
/* The peer's end of the connection is gone. `why` as in stream_owner.on_end. */
void fake_end(int fd, const char *why);
/* Finishes closings; to be called in each turn. Returns whether there was anything. */
bool fake_streams_turn(void);
unsigned fake_streams(void);
/* Output that the peer has not taken, the most of it ever. */
size_t fake_pending_most(void);
/* Bodies sent to the peer since the start. */
unsigned fake_contents(void);
/* The property reply-to of the last content that had one; empty if none had. */
struct slice fake_reply_to(void);
void fake_streams_reset(void);

#endif
