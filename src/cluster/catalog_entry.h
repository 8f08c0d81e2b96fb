/* SPDX-License-Identifier: Apache-2.0
 *
 * The header of group 0's entries, and of its snapshots' states.
 */
#ifndef WARREN_CLUSTER_CATALOG_ENTRY_H
#define WARREN_CLUSTER_CATALOG_ENTRY_H

enum { CATALOG_KIND = 'M', CATALOG_ENTRY_VERSION = 2 };

#endif
