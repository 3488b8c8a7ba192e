// SPDX-License-Identifier: Apache-2.0
/* Planning in this order: pieces, the file they go to, units, and the index at rank 0. */
#include "checkpoint/save_plan.h"

#include "checkpoint/bytes.h"
#include "runtime/agree.h"
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

#include <stdio.h>
#include <string.h>

enum { PLAN_MASKS = 1 << TRI_AXES, PLAN_SLACK_BYTES = 2 << 20 };

/* What a rank tells rank 0, before its boxes. */
typedef struct plan_part {
    int64_t leader;
    int64_t file_bytes; /* of the leader's file; 0 elsewhere, and where it has none */
    int64_t n_boxes, n_blocks;
} plan_part;

void tri_save_plan_destroy(tri_save_plan **plan)
{
    if (!*plan) return;
    tri_assign_destroy(&(*plan)->assign);
    tri_manifest_destroy(&(*plan)->manifest);
    tri_shard_layout_destroy(&(*plan)->layout);
    TRI_FREE((*plan)->boxes);
    TRI_FREE((*plan)->units);
    TRI_FREE((*plan)->stills);
    TRI_FREE((*plan)->still_bytes);
    TRI_FREE((*plan)->first_block);
    TRI_FREE(*plan);
}

static int64_t plan_element_bytes(const tri_save_plan *plan, int64_t piece)
{
    return (int64_t)tri_dtype_bytes(
        (tri_dtype)plan->assign->rows[plan->assign->pieces[piece].row].dtype);
}

static int64_t plan_piece_bytes(const tri_save_plan *plan, int64_t piece)
{
    return tri_box_elements(&plan->assign->pieces[piece].box) * plan_element_bytes(plan, piece);
}

/* Parameters and optimizer states change in the update alone, and are read in place until then. */
static bool plan_is_still(const tri_save_plan *plan, int64_t piece)
{
    int32_t role = plan->assign->rows[plan->assign->pieces[piece].row].role;
    return role != TRI_ROLE_PARAM && role != TRI_ROLE_OPTIM;
}

/* Boxes as the manifest has them, but for their places. */
static tri_status plan_boxes(tri_save_plan *plan)
{
    const tri_assign *assign = plan->assign;
    TRI_TRY(TRI_NEW_ARRAY(assign->n_pieces, &plan->boxes));
    for (int64_t i = 0; i < assign->n_pieces; i++) {
        const tri_assign_piece *piece = &assign->pieces[i];
        const tri_manifest_row *row = &assign->rows[piece->row];
        tri_manifest_box *box = &plan->boxes[i];
        for (int d = 0; d < piece->box.n_dims; d++) {
            box->start[d] = piece->box.start[d];
            box->count[d] = piece->box.count[d];
        }
        box->row = piece->row;
        box->block_elements = tri_manifest_block_elements(&piece->box, (tri_dtype)row->dtype);
        box->first_block = plan->n_blocks;
        int64_t elements = tri_box_elements(&piece->box);
        plan->n_blocks += tri_round_up(elements, box->block_elements) / box->block_elements;
        TRI_CHECK(piece->data, TRI_EBUG, "row '%s' is saved before it has memory", row->name);
    }
    return TRI_OK;
}

/* On the leader: number and place the boxes of all that write to its file. */
static tri_status plan_place(tri_save_plan *plan, tri_bytes *boxes)
{
    tri_shard_layout *layout = &plan->layout;
    layout->n_boxes = boxes->n / (int64_t)sizeof *layout->boxes;
    layout->boxes = (tri_manifest_box *)(void *)TRI_MOVE(boxes->data);
    boxes->n = 0;
    if (!layout->n_boxes) return TRI_OK;
    tri_bytes numbers = {0};
    TRI_TRY(TRI_NEW_ARRAY(plan->assign->n_rows * (int64_t)sizeof(int32_t), &numbers.data));
    int32_t *number = (int32_t *)(void *)numbers.data;
    for (int64_t i = 0; i < layout->n_boxes; i++)
        layout->boxes[i].number = number[layout->boxes[i].row]++;
    tri_bytes_destroy(&numbers);
    char name[TRI_MANIFEST_TEXT_BYTES];
    tri_shard_name(plan->leader, name);
    return tri_shard_place(plan->assign->rows, name, layout);
}

/* A file of this rank's own. */
static tri_status plan_own_file(tri_save_plan *plan, tri_comm *world)
{
    TRI_AUTO(tri_bytes) boxes = {0};
    plan->leader = tri_comm_rank(world);
    int64_t n = plan->assign->n_pieces;
    TRI_TRY(tri_bytes_append(&boxes, plan->boxes, n * (int64_t)sizeof *plan->boxes));
    TRI_TRY(plan_place(plan, &boxes));
    for (int64_t i = 0; i < n; i++)
        plan->boxes[i] = plan->layout.boxes[i];
    return TRI_OK;
}

/* Where this rank's boxes begin among those of the ranks of its host. Collective: node. */
static tri_status plan_skip(const tri_save_plan *plan, tri_comm *node, int64_t *skip)
{
    TRI_AUTO(tri_bytes) counts = {0};
    int n_ranks = tri_comm_size(node);
    int rank = tri_comm_rank(node);
    TRI_TRY(tri_agree(node, TRI_NEW_ARRAY(n_ranks * (int64_t)sizeof(int64_t), &counts.data)));
    int64_t *count = (int64_t *)(void *)counts.data;
    count[rank] = plan->assign->n_pieces;
    TRI_TRY(tri_allgather(node, tri_span_make(&count[rank], 1, TRI_I64),
                          tri_span_make(count, n_ranks, TRI_I64), NULL));
    *skip = 0;
    for (int r = 0; r < rank; r++)
        *skip += count[r];
    return TRI_OK;
}

/* One file of the ranks of a host: the lowest places all boxes and tells where. Collective: node. */
static tri_status plan_node_file(tri_save_plan *plan, tri_comm *node)
{
    TRI_AUTO(tri_bytes) boxes = {0};
    int64_t n = plan->assign->n_pieces;
    int64_t skip = 0;
    plan->leader = tri_comm_world_rank(node, 0);
    bool is_leader = tri_comm_rank(node) == 0;
    TRI_TRY(plan_skip(plan, node, &skip));
    TRI_TRY(
        tri_agree(node, tri_bytes_append(&boxes, plan->boxes, n * (int64_t)sizeof *plan->boxes)));
    TRI_TRY(tri_bytes_gather(node, &boxes));
    TRI_TRY(tri_agree(node, is_leader ? plan_place(plan, &boxes) : TRI_OK));
    tri_status told = TRI_OK;
    if (is_leader)
        told = tri_bytes_append(&boxes, plan->layout.boxes,
                                plan->layout.n_boxes * (int64_t)sizeof *plan->boxes);
    TRI_TRY(tri_agree(node, told));
    TRI_TRY(tri_bytes_broadcast(node, &boxes));
    const tri_manifest_box *all = (const tri_manifest_box *)(const void *)boxes.data;
    for (int64_t i = 0; i < n; i++) {
        int64_t first_block = plan->boxes[i].first_block;
        plan->boxes[i] = all[skip + i];
        plan->boxes[i].first_block = first_block;
    }
    return TRI_OK;
}

/* Where the boxes of this rank go. Collective: world. */
static tri_status plan_file(tri_save_plan *plan, tri_comm *world, bool per_node)
{
    if (!per_node) return tri_agree(world, plan_own_file(plan, world));
    tri_comm *node = NULL;
    int rank = tri_comm_rank(world);
    TRI_TRY(tri_comm_split(world, tri_comm_host(world, rank), rank, &node));
    tri_status rc = tri_agree(world, plan_node_file(plan, node));
    tri_comm_close(&node);
    return rc;
}

/* Copies of what may change at any time. */
static tri_status plan_stills(tri_save_plan *plan)
{
    int64_t bytes = 0;
    for (int64_t i = 0; i < plan->assign->n_pieces; i++) {
        if (!plan_is_still(plan, i)) continue;
        plan->n_stills++;
        bytes += plan_piece_bytes(plan, i);
    }
    TRI_TRY(TRI_NEW_ARRAY(plan->n_stills, &plan->stills));
    TRI_TRY(TRI_NEW_ARRAY(bytes, &plan->still_bytes));
    char *to = plan->still_bytes;
    for (int64_t i = 0, s = 0; i < plan->assign->n_pieces; i++) {
        if (!plan_is_still(plan, i)) continue;
        tri_save_still still = {plan->assign->pieces[i].data, to, plan_piece_bytes(plan, i)};
        plan->stills[s++] = still;
        to += still.bytes;
    }
    return TRI_OK;
}

/* Append the units of a piece: its blocks, in parts that fit the staging buffer. */
static void plan_add_units(tri_save_plan *plan, int64_t piece, const char *data)
{
    const tri_manifest_box *box = &plan->boxes[piece];
    int64_t bytes = plan_piece_bytes(plan, piece);
    int64_t block_bytes = box->block_elements * plan_element_bytes(plan, piece);
    for (int64_t at = 0; at < bytes;) {
        int64_t block = at / block_bytes;
        int64_t left = tri_min64((block + 1) * block_bytes, bytes) - at;
        tri_unit *unit = &plan->units[plan->n_units];
        *unit = (tri_unit){.data = data + at,
                           .bytes = tri_min64(left, TRI_HANDOVER_UNIT_BYTES),
                           .before = plan->n_units ? unit[-1].before + unit[-1].bytes : 0,
                           .offset = box->offset + at,
                           .block = box->first_block + block};
        plan->n_units++;
        at += unit->bytes;
    }
}

static tri_status plan_units(tri_save_plan *plan)
{
    int64_t n = 0;
    for (int64_t i = 0; i < plan->assign->n_pieces; i++)
        n += plan_piece_bytes(plan, i) / TRI_HANDOVER_UNIT_BYTES;
    TRI_TRY(TRI_NEW_ARRAY(n + plan->n_blocks, &plan->units));
    for (int64_t i = 0, s = 0; i < plan->assign->n_pieces; i++)
        if (plan_is_still(plan, i)) plan_add_units(plan, i, plan->stills[s++].to);
    plan->n_still_units = plan->n_units;
    for (int64_t i = 0; i < plan->assign->n_pieces; i++)
        if (!plan_is_still(plan, i)) plan_add_units(plan, i, plan->assign->pieces[i].data);
    return TRI_OK;
}

/* Rank 0: rows, boxes and files of the parts of all ranks, checked. */
static tri_status plan_join(tri_save_plan *plan, const tri_bytes *parts, int n_ranks,
                            const char *dir)
{
    tri_manifest_head head = {.n_rows = plan->assign->n_rows, .n_files = 1};
    const char *end = parts->data + parts->n;
    TRI_TRY(TRI_NEW_ARRAY(n_ranks + 1, &plan->first_block));
    int rank = 0;
    for (const char *at = parts->data; at < end; rank++) {
        plan_part part;
        memcpy(&part, at, sizeof part);
        plan->first_block[rank + 1] = plan->first_block[rank] + part.n_blocks;
        head.n_boxes += part.n_boxes;
        head.n_blocks += part.n_blocks;
        head.n_files += part.file_bytes > 0;
        at += sizeof part + (size_t)part.n_boxes * sizeof(tri_manifest_box);
    }
    TRI_TRY(tri_manifest_create(&head, &plan->manifest));
    tri_manifest *m = plan->manifest;
    memcpy(m->rows, plan->assign->rows, (size_t)head.n_rows * sizeof *m->rows);
    TRI_AUTO(tri_bytes) file_of = {0}; /* by leader */
    TRI_TRY(TRI_NEW_ARRAY(n_ranks * (int64_t)sizeof(int32_t), &file_of.data));
    int32_t *file = (int32_t *)(void *)file_of.data;
    int64_t box = 0;
    int32_t n_files = 0;
    rank = 0;
    for (const char *at = parts->data; at < end; rank++) {
        plan_part part;
        memcpy(&part, at, sizeof part);
        at += sizeof part;
        if (part.file_bytes > 0) {
            file[rank] = n_files;
            m->files[n_files].bytes = part.file_bytes;
            m->files[n_files].rank = rank;
            tri_shard_name(rank, m->files[n_files++].name);
        }
        for (int64_t i = 0; i < part.n_boxes; i++, at += sizeof *m->boxes) {
            memcpy(&m->boxes[box], at, sizeof *m->boxes);
            m->boxes[box].file = file[part.leader];
            m->boxes[box++].first_block += plan->first_block[rank];
        }
    }
    snprintf(m->files[n_files].name, TRI_MANIFEST_TEXT_BYTES, "%s", TRI_MANIFEST_VIEW);
    for (int64_t i = 0; i < head.n_files; i++)
        snprintf(m->files[i].uuid, sizeof m->files[i].uuid, "%s", TRI_SHARD_ANY_UUID);
    return tri_manifest_index(m, dir, TRI_EBUG);
}

/* Collective: world. */
static tri_status plan_index(tri_save_plan *plan, tri_comm *world, const char *dir)
{
    TRI_AUTO(tri_bytes) parts = {0};
    plan_part part = {.leader = plan->leader,
                      .file_bytes = plan->layout.bytes,
                      .n_boxes = plan->assign->n_pieces,
                      .n_blocks = plan->n_blocks};
    tri_status rc = tri_bytes_append(&parts, &part, sizeof part);
    if (rc == TRI_OK)
        rc = tri_bytes_append(&parts, plan->boxes, part.n_boxes * (int64_t)sizeof *plan->boxes);
    TRI_TRY(tri_agree(world, rc));
    TRI_TRY(tri_bytes_gather(world, &parts));
    bool is_root = tri_comm_rank(world) == 0;
    TRI_TRY(
        tri_agree(world, is_root ? plan_join(plan, &parts, tri_comm_size(world), dir) : TRI_OK));
    plan->total_bytes = plan->layout.bytes;
    return tri_allreduce(world, tri_span_make(&plan->total_bytes, 1, TRI_I64), TRI_SUM, NULL);
}

static tri_status plan_memory(tri_save_plan *plan)
{
    TRI_TRY(plan_stills(plan));
    return plan_units(plan);
}

tri_status tri_save_plan_create(const tri_state *state, tri_comm *world, bool per_node,
                                const char *dir, tri_save_plan **out)
{
    TRI_AUTO(tri_save_plan) *plan = NULL;
    TRI_TRY(tri_agree(world, TRI_NEW(&plan)));
    TRI_TRY(tri_assign_create(state, world, &plan->assign));
    TRI_TRY(tri_agree(world, plan_boxes(plan)));
    TRI_TRY(plan_file(plan, world, per_node));
    TRI_TRY(tri_agree(world, plan_memory(plan)));
    TRI_TRY(plan_index(plan, world, dir));
    *out = TRI_MOVE(plan);
    return TRI_OK;
}

/* The axes over which a row is replicated. */
static unsigned plan_replicas(const tri_row *row)
{
    unsigned axes = 0;
    for (int a = 0; a < TRI_AXES; a++)
        if (row->place.axis[a].kind == TRI_REPLICATED) axes |= TRI_AXIS_BIT(a);
    return axes;
}

tri_status tri_save_plan_bytes(const tri_state *state, int64_t *bytes)
{
    const tri_mesh *mesh = tri_state_mesh(state);
    int64_t held[PLAN_MASKS] = {0};
    bool in_parts[PLAN_MASKS] = {false};
    for (int i = 0; i < tri_state_rows(state); i++) {
        const tri_row *row = tri_state_row(state, i);
        tri_box box;
        if (row->role != TRI_ROLE_PARAM && row->role != TRI_ROLE_OPTIM) continue;
        unsigned axes = plan_replicas(row);
        TRI_TRY(
            tri_place_box(&row->place, mesh, tri_mesh_rank(mesh), row->n_dims, row->shape, &box));
        held[axes] += row->count * (int64_t)tri_dtype_bytes(row->dtype);
        in_parts[axes] = in_parts[axes] || row->count < tri_box_elements(&box);
    }
    int64_t all = 0;
    int64_t share = 0;
    for (unsigned axes = 0; axes < PLAN_MASKS; axes++) {
        int64_t copies = in_parts[axes] ? 1 : tri_mesh_product(mesh, axes);
        all += held[axes];
        share += tri_round_up(held[axes], copies) / copies;
    }
    *bytes = share < all ? tri_min64(all, share + PLAN_SLACK_BYTES) : all;
    return TRI_OK;
}
