/* SPDX-License-Identifier: Apache-2.0
 *
 * Password hashes in RabbitMQ's form: base64(salt[4] || H(salt || password)).
 */
#ifndef WARREN_BROKER_PASSWORD_H
#define WARREN_BROKER_PASSWORD_H

#include "src/base/bytes.h"

/* In commands and on disk; never reused. */
enum broker_password_algorithm {
	BROKER_PASSWORD_SHA256 = 0, /* rabbit_password_hashing_sha256; all new ones */
	BROKER_PASSWORD_SHA512 = 1, /* rabbit_password_hashing_sha512 */
	BROKER_PASSWORD_MD5 = 2,    /* rabbit_password_hashing_md5: from very old definitions */
	BROKER_PASSWORD_ALGORITHMS
};

#define BROKER_SALT_SIZE 4
#define BROKER_PASSWORD_HASH_MAX 96 /* base64 of 4 + 64 octets, and a NUL */

/* Writes the text with its NUL and returns its length; 0 if the library lacks the algorithm. The
 * salt is the caller's to draw: this folder has no randomness. Any thread. */
size_t broker_password_hash(char out[BROKER_PASSWORD_HASH_MAX],
	enum broker_password_algorithm algorithm, const uint8_t salt[BROKER_SALT_SIZE],
	struct slice password);

/* True if the password belongs to the hash. An empty or malformed hash and a blank password never
 * match. The time taken does not depend on where the digests differ. Any thread. */
bool broker_password_check(
	struct slice hash, enum broker_password_algorithm algorithm, struct slice password);

#endif
