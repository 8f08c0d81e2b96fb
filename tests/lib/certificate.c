/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/certificate.h"

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdbool.h>

enum { VALID_S = 24 * 60 * 60 };

static X509 *certificate_of(EVP_PKEY *key)
{
	X509 *x = X509_new();
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -VALID_S);
	X509_gmtime_adj(X509_getm_notAfter(x), VALID_S);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(
		X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	X509_sign(x, key, EVP_sha256());
	return x;
}

SSL_CTX *certificate_context(void)
{
	static SSL_CTX *c;
	if (c != NULL)
		return c;
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = certificate_of(key);
	c = SSL_CTX_new(TLS_method());
	SSL_CTX_set_num_tickets(c, 0);
	SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS);
	bool good = SSL_CTX_use_certificate(c, x) == 1 && SSL_CTX_use_PrivateKey(c, key) == 1;
	X509_free(x);
	EVP_PKEY_free(key);
	return good ? c : NULL;
}
