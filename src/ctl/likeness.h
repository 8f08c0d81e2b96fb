/* SPDX-License-Identifier: Apache-2.0
 *
 * How much a word looks like another one.
 */
#ifndef WARREN_CTL_LIKENESS_H
#define WARREN_CTL_LIKENESS_H

/* Jaro's measure: 0 (nothing in common) to 1 (equal). Of words longer than 63 octets the first 63 count. */
double likeness_of(const char *a, const char *b);

#endif
