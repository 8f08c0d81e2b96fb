/* SPDX-License-Identifier: Apache-2.0
 *
 * How far the other end of a TCP connection is, as the kernel has measured it.
 */
#ifndef WARREN_NET_ROUND_TRIP_H
#define WARREN_NET_ROUND_TRIP_H

#include <stdbool.h>

/* The shortest round trip of the last minutes, in microseconds; 0 if nothing is known. What waits on the way, and
 * answers that were held back, do not count. Any thread. */
unsigned round_trip_us(int fd);
/* `us`, where `known_us` was told before, is worth telling to who reckons in milliseconds: they are others, and not
 * because a value next to their border has moved by a tenth at most. Pure. */
bool round_trip_is_news(unsigned known_us, unsigned us);

#endif
