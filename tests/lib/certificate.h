/* SPDX-License-Identifier: Apache-2.0
 *
 * A context of TLS for tests that are about something else: a key of its own, whose certificate nobody checks.
 */
#ifndef WARREN_TESTS_CERTIFICATE_H
#define WARREN_TESTS_CERTIFICATE_H

struct ssl_ctx_st;

/* Never freed. NULL if OpenSSL cannot. */
struct ssl_ctx_st *certificate_context(void);

#endif
