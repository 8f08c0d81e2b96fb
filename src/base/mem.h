/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory that is always there: allocation failure ends the process. A broker that has promised to
 * keep messages gains nothing from limping on without memory; what peers can make grow is limited
 * by named bounds long before. Any thread.
 */
#ifndef WARREN_BASE_MEM_H
#define WARREN_BASE_MEM_H

#include <stdarg.h>
#include <stddef.h>

/* Each returns memory that the caller frees with mem_free(); never NULL (n == 0 gives a valid
 * pointer, too). */
void *mem_alloc(size_t n) __attribute__((malloc, alloc_size(1), returns_nonnull));
void *mem_zalloc(size_t n) __attribute__((malloc, alloc_size(1), returns_nonnull));
void *mem_realloc(void *p, size_t n) __attribute__((alloc_size(2), returns_nonnull));
void *mem_dup(const void *p, size_t n) __attribute__((malloc, returns_nonnull));
char *mem_strdup(const char *s) __attribute__((malloc, returns_nonnull));

/* printf into memory of its own. */
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2), returns_nonnull));
char *mem_vprintf(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0), returns_nonnull));

/* p may be NULL. */
void mem_free(void *p);

/* Gives memory that is free back to the system at once, as far as the allocator can tell which. */
void mem_release(void);

#define MEM_NEW(type) ((type *)mem_zalloc(sizeof(type)))

#endif
