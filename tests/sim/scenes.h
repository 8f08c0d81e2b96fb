/* SPDX-License-Identifier: Apache-2.0
 *
 * The scenes themselves, by what fails. nodes_scenes.c has their names; each knows what it is about.
 */
#ifndef WARREN_TESTS_SCENES_H
#define WARREN_TESTS_SCENES_H

#include "tests/sim/nodes_life.h"

/* ---- scenes_processes.c: processes that end ---- */

void scene_home_down(struct nodes_life *l);
void scene_kills(struct nodes_life *l);
void scene_kills_in_turn(struct nodes_life *l);
void scene_two_mirrors(struct nodes_life *l);
void scene_two_mirrors_cut(struct nodes_life *l);
void scene_both_of_two(struct nodes_life *l);
void scene_two_in_memory(struct nodes_life *l);
void scene_orders(struct nodes_life *l);
void scene_power_loss(struct nodes_life *l);
void scene_rolling(struct nodes_life *l);
void scene_deleted_while_stopping(struct nodes_life *l);

/* ---- scenes_network.c: links, and disks that stand still or are full ---- */

void scene_cut_off(struct nodes_life *l);
void scene_unheard(struct nodes_life *l);
void scene_deaf(struct nodes_life *l);
void scene_ring(struct nodes_life *l);
void scene_pairs(struct nodes_life *l);
void scene_lopsided(struct nodes_life *l);
void scene_blinks(struct nodes_life *l);
void scene_lossy(struct nodes_life *l);
void scene_stalled(struct nodes_life *l);
void scene_full_disk(struct nodes_life *l);

/* ---- scenes_members.c: nodes and members that come, go, are given up ---- */

void scene_wiped(struct nodes_life *l);
void scene_replaced(struct nodes_life *l);
void scene_renewed(struct nodes_life *l);
void scene_retyped(struct nodes_life *l);
void scene_changed(struct nodes_life *l);
void scene_forced(struct nodes_life *l);
void scene_forced_dying(struct nodes_life *l);
void scene_forced_behind(struct nodes_life *l);
void scene_forced_early(struct nodes_life *l);
void scene_survivor_forgotten(struct nodes_life *l);
void scene_never_begun(struct nodes_life *l);
void scene_absent_forgotten(struct nodes_life *l);
void scene_cut_and_forget(struct nodes_life *l);
void scene_leaves_untold(struct nodes_life *l);
void scene_discovered(struct nodes_life *l);
void scene_mirror_added(struct nodes_life *l);
void scene_sync_cancelled(struct nodes_life *l);
void scene_ram_node(struct nodes_life *l);

/* ---- scenes_many.c: many queues ---- */

void scene_idle(struct nodes_life *l);

#endif
