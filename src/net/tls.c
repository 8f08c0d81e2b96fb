/* SPDX-License-Identifier: Apache-2.0 */
#include "src/net/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { RECORD_ALERT = 0x15, RECORD_HANDSHAKE = 0x16 };

/* ---- files ---- */

/* A key for everybody is none. A group may read it: several services share one key that way. */
static bool key_is_private(const char *path, char *err, size_t err_n)
{
	struct stat st;
	if (stat(path, &st) != 0) {
		snprintf(err, err_n, "%s cannot be read: %s", path, strerror(errno));
		return false;
	}
	if ((st.st_mode & (S_IRWXO | S_IWGRP | S_IXGRP)) == 0)
		return true;
	snprintf(err, err_n, "the private key %s has mode %o: others must not have access (chmod 600, or 640)",
		path, (unsigned)st.st_mode & 0777);
	return false;
}

static const char *last_error(void)
{
	const char *why = ERR_reason_error_string(ERR_peek_last_error());
	ERR_clear_error();
	return why != NULL ? why : "not understood";
}

/* Asked for nothing: a node has nobody who could type a password. */
static int no_password(char *to, int size, int writing, void *arg)
{
	(void)to;
	(void)size;
	(void)writing;
	(void)arg;
	return 0;
}

static bool load(SSL_CTX *c, const struct tls_config *config, char *err, size_t err_n)
{
	const char *file = NULL;
	if (!key_is_private(config->keyfile, err, err_n))
		return false;
	if (SSL_CTX_use_certificate_chain_file(c, config->certfile) != 1)
		file = config->certfile;
	else if (SSL_CTX_use_PrivateKey_file(c, config->keyfile, SSL_FILETYPE_PEM) != 1 ||
		 SSL_CTX_check_private_key(c) != 1)
		file = config->keyfile;
	else if (config->verify && SSL_CTX_load_verify_locations(c, config->cacertfile, NULL) != 1)
		file = config->cacertfile;
	if (file == NULL)
		return true;
	snprintf(err, err_n, "%s cannot be used: %s", file, last_error());
	return false;
}

SSL_CTX *tls_context_new(const struct tls_config *config, char *err, size_t err_n)
{
	SSL_CTX *c = SSL_CTX_new(TLS_method());
	if (c == NULL) {
		snprintf(err, err_n, "TLS cannot be used: %s", last_error());
		return NULL;
	}
	SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
	SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |
				       SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(c, 0);
	SSL_CTX_set_default_passwd_cb(c, no_password);
	SSL_CTX_set_verify_depth(c, (int)config->depth);
	SSL_CTX_set_verify(c,
		config->verify ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_NONE,
		NULL);
	if (load(c, config, err, err_n))
		return c;
	SSL_CTX_free(c);
	return NULL;
}

void tls_context_free(SSL_CTX *context)
{
	SSL_CTX_free(context);
}

/* ---- connections ---- */

const char *tls_error(SSL *ssl, char text[TLS_TEXT_MAX])
{
	unsigned long code = ERR_peek_last_error();
	const char *why = ERR_reason_error_string(code);
	long verified = SSL_get_verify_result(ssl);
	if (ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED && verified != X509_V_OK)
		snprintf(text, TLS_TEXT_MAX, "TLS: the certificate of the other end is not accepted: %s",
			X509_verify_cert_error_string(verified));
	else if (ERR_GET_REASON(code) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
		snprintf(text, TLS_TEXT_MAX, "TLS: the other end has no certificate");
	else if (ERR_GET_REASON(code) >= SSL_AD_REASON_OFFSET)
		snprintf(text, TLS_TEXT_MAX, "TLS: the other end refuses the connection: %s",
			SSL_alert_desc_string_long(ERR_GET_REASON(code) - SSL_AD_REASON_OFFSET));
	else
		snprintf(text, TLS_TEXT_MAX, "TLS: %s", why != NULL ? why : "the connection broke");
	ERR_clear_error();
	return text;
}

bool tls_binding(SSL *ssl, unsigned char ret[TLS_BINDING])
{
	static const char label[] = "EXPORTER-Channel-Binding";
	return SSL_export_keying_material(ssl, ret, TLS_BINDING, label, sizeof label - 1,
		       (const unsigned char *)"", 0, 1) == 1;
}

bool tls_is_record(unsigned char first)
{
	return first == RECORD_HANDSHAKE || first == RECORD_ALERT;
}
