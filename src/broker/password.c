/* SPDX-License-Identifier: Apache-2.0 */
#include "src/broker/password.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#define SALTED_MAX (BROKER_SALT_SIZE + EVP_MAX_MD_SIZE)

static const EVP_MD *digest_of(enum broker_password_algorithm algorithm)
{
	switch (algorithm) {
	case BROKER_PASSWORD_SHA256:
		return EVP_sha256();
	case BROKER_PASSWORD_SHA512:
		return EVP_sha512();
	case BROKER_PASSWORD_MD5:
		return EVP_md5();
	case BROKER_PASSWORD_ALGORITHMS:
		break;
	}
	return NULL;
}

static bool digest(EVP_MD_CTX *ctx, const EVP_MD *md, const uint8_t salt[BROKER_SALT_SIZE],
	struct slice password, uint8_t *out)
{
	return ctx != NULL && EVP_DigestInit_ex(ctx, md, NULL) == 1 &&
	       EVP_DigestUpdate(ctx, salt, BROKER_SALT_SIZE) == 1 &&
	       EVP_DigestUpdate(ctx, password.p, password.n) == 1 &&
	       EVP_DigestFinal_ex(ctx, out, NULL) == 1;
}

/* salt || H(salt || password); 0 if the library lacks the algorithm (MD5 in FIPS mode). */
static size_t salted_digest(enum broker_password_algorithm algorithm,
	const uint8_t salt[BROKER_SALT_SIZE], struct slice password, uint8_t out[SALTED_MAX])
{
	const EVP_MD *md = digest_of(algorithm);
	if (md == NULL)
		return 0;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	memcpy(out, salt, BROKER_SALT_SIZE);
	bool ok = digest(ctx, md, salt, password, out + BROKER_SALT_SIZE);
	EVP_MD_CTX_free(ctx);
	return ok ? BROKER_SALT_SIZE + (size_t)EVP_MD_get_size(md) : 0;
}

size_t broker_password_hash(char out[BROKER_PASSWORD_HASH_MAX],
	enum broker_password_algorithm algorithm, const uint8_t salt[BROKER_SALT_SIZE],
	struct slice password)
{
	uint8_t salted[SALTED_MAX];
	size_t n = salted_digest(algorithm, salt, password, salted);
	if (n == 0)
		return 0;
	return (size_t)EVP_EncodeBlock((unsigned char *)out, salted, (int)n);
}

/* What base64 text decodes to, or 0: it is malformed or too long for any hash. */
static size_t decode(struct slice text, uint8_t out[BROKER_PASSWORD_HASH_MAX])
{
	if (text.n == 0 || text.n % 4 != 0 || text.n >= BROKER_PASSWORD_HASH_MAX)
		return 0;
	int n = EVP_DecodeBlock(out, text.p, (int)text.n);
	/* It counts the padding as octets. */
	int padding = (text.p[text.n - 1] == '=') + (text.p[text.n - 2] == '=');
	return n < padding ? 0 : (size_t)(n - padding);
}

bool broker_password_check(
	struct slice hash, enum broker_password_algorithm algorithm, struct slice password)
{
	uint8_t stored[BROKER_PASSWORD_HASH_MAX], made[SALTED_MAX];
	size_t n = decode(hash, stored);
	if (n <= BROKER_SALT_SIZE || password.n == 0)
		return false;
	return salted_digest(algorithm, stored, password, made) == n &&
	       CRYPTO_memcmp(stored, made, n) == 0;
}
