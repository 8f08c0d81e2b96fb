/* SPDX-License-Identifier: Apache-2.0 */
#include "src/net/round_trip.h"

#include <linux/tcp.h> /* the C library's own lacks the field, and the two exclude each other */
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

enum { NOT_MEASURED_US = 1 << 30, PART = 10 };

unsigned round_trip_us(int fd)
{
	struct tcp_info info = {0};
	socklen_t n = sizeof info;
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) != 0 ||
		n < offsetof(struct tcp_info, tcpi_min_rtt) + sizeof info.tcpi_min_rtt)
		return 0;
	return info.tcpi_min_rtt < NOT_MEASURED_US ? info.tcpi_min_rtt : 0;
}

bool round_trip_is_news(unsigned known_us, unsigned us)
{
	unsigned apart = us > known_us ? us - known_us : known_us - us;
	return us / 1000 != known_us / 1000 && apart > known_us / PART;
}
