// SPDX-License-Identifier: Apache-2.0
/* The manifest on its way from rank 0 to the others: rows and files go to all, of the boxes each rank
 * keeps what it asks for. Boxes pass by in chunks, so that a rank has its own and one chunk in memory.
 */
#include "checkpoint/manifest.h"
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

#include <string.h>

enum { SHARE_BOXES = 4096, SHARE_BLOCKS = 1 << 16 }; /* of a chunk: 0.9 MiB */

/* Some boxes and their checksums; first_block counts from 0 of these. The last chunk is empty. */
typedef struct share_chunk {
    int64_t n_boxes, n_blocks, most_blocks;
    tri_manifest_box *boxes;
    int64_t *blocks;
} share_chunk;

static void share_chunk_destroy(share_chunk *chunk)
{
    TRI_FREE(chunk->boxes);
    TRI_FREE(chunk->blocks);
}

/* Room of the arrays that a part grows. */
typedef struct share_room {
    int64_t boxes, blocks;
} share_room;

static tri_status share_bytes(tri_comm *comm, void *data, int64_t count, size_t bytes)
{
    int64_t n = count * (int64_t)bytes;
    return n ? tri_broadcast(comm, tri_span_make(data, n, TRI_U8), 0, NULL) : TRI_OK;
}

tri_status tri_manifest_broadcast(tri_comm *comm, const tri_manifest *whole, tri_manifest **out)
{
    tri_manifest_head head = {0};
    if (whole) {
        head = whole->head;
        head.n_boxes = 0;
        head.n_blocks = 0;
        head.job_bytes = 0;
    }
    TRI_TRY(share_bytes(comm, &head, 1, sizeof head));
    TRI_AUTO(tri_manifest) *part = NULL;
    TRI_TRY(tri_manifest_create(&head, &part));
    if (whole) {
        memcpy(part->rows, whole->rows, (size_t)head.n_rows * sizeof *part->rows);
        memcpy(part->files, whole->files, (size_t)head.n_files * sizeof *part->files);
        for (int64_t i = 0; i < head.n_rows; i++)
            part->rows[i].first_box = part->rows[i].n_boxes = 0;
    }
    TRI_TRY(share_bytes(comm, part->rows, head.n_rows, sizeof *part->rows));
    TRI_TRY(share_bytes(comm, part->files, head.n_files, sizeof *part->files));
    *out = TRI_MOVE(part);
    return TRI_OK;
}

/* Rank 0: fill a chunk with the boxes from *next on. */
static void share_pack(const tri_manifest *whole, int64_t *next, share_chunk *chunk)
{
    chunk->n_boxes = 0;
    chunk->n_blocks = 0;
    while (*next < whole->head.n_boxes && chunk->n_boxes < SHARE_BOXES) {
        const tri_manifest_box *box = &whole->boxes[*next];
        int64_t n = tri_manifest_blocks_of(whole, box);
        if (n > chunk->most_blocks - chunk->n_blocks) return;
        tri_manifest_box *mine = &chunk->boxes[chunk->n_boxes++];
        *mine = *box;
        mine->first_block = chunk->n_blocks;
        memcpy(chunk->blocks + chunk->n_blocks, whole->blocks + box->first_block,
               (size_t)n * sizeof *chunk->blocks);
        chunk->n_blocks += n;
        ++*next;
    }
}

static tri_status share_chunk_create(tri_comm *comm, const tri_manifest *whole, share_chunk *out)
{
    int64_t most = SHARE_BLOCKS;
    for (int64_t i = 0; whole && i < whole->head.n_boxes; i++)
        most = tri_max64(most, tri_manifest_blocks_of(whole, &whole->boxes[i]));
    TRI_TRY(share_bytes(comm, &most, 1, sizeof most));
    out->most_blocks = most;
    TRI_TRY(TRI_NEW_ARRAY(SHARE_BOXES, &out->boxes));
    return TRI_NEW_ARRAY(most, &out->blocks);
}

static tri_status share_grow(void **array, int64_t count, int64_t more, int64_t *room, size_t bytes)
{
    if (count + more <= *room) return TRI_OK;
    int64_t wanted = tri_max64(2 * *room, count + more);
    TRI_TRY(tri_alloc_grow(array, count, wanted, bytes));
    *room = wanted;
    return TRI_OK;
}

/* Add one box to a part; boxes come sorted. */
static tri_status share_keep(tri_manifest *part, share_room *room, const share_chunk *chunk,
                             const tri_manifest_box *box, int64_t n_blocks)
{
    tri_manifest_head *head = &part->head;
    TRI_TRY(share_grow((void **)&part->boxes, head->n_boxes, 1, &room->boxes, sizeof *part->boxes));
    TRI_TRY(share_grow((void **)&part->blocks, head->n_blocks, n_blocks, &room->blocks,
                       sizeof *part->blocks));
    tri_manifest_row *row = &part->rows[box->row];
    if (row->n_boxes++ == 0) row->first_box = head->n_boxes;
    memcpy(part->blocks + head->n_blocks, chunk->blocks + box->first_block,
           (size_t)n_blocks * sizeof *part->blocks);
    part->boxes[head->n_boxes] = *box;
    part->boxes[head->n_boxes++].first_block = head->n_blocks;
    head->n_blocks += n_blocks;
    return TRI_OK;
}

tri_status tri_manifest_scatter(tri_comm *comm, const tri_manifest *whole,
                                const tri_manifest_filter *filter, tri_manifest *part)
{
    TRI_AUTO(share_chunk) chunk = {0};
    TRI_TRY(share_chunk_create(comm, whole, &chunk));
    share_room room = {0, 0};
    int64_t next = 0;
    do {
        if (whole) share_pack(whole, &next, &chunk);
        int64_t counts[2] = {chunk.n_boxes, chunk.n_blocks};
        TRI_TRY(share_bytes(comm, counts, 2, sizeof *counts));
        chunk.n_boxes = counts[0];
        chunk.n_blocks = counts[1];
        TRI_TRY(share_bytes(comm, chunk.boxes, chunk.n_boxes, sizeof *chunk.boxes));
        TRI_TRY(share_bytes(comm, chunk.blocks, chunk.n_blocks, sizeof *chunk.blocks));
        for (int64_t i = 0; i < chunk.n_boxes; i++) {
            tri_box box = tri_manifest_box_of(part, &chunk.boxes[i]);
            if (filter->wants(filter->arg, chunk.boxes[i].row, &box))
                TRI_TRY(share_keep(part, &room, &chunk, &chunk.boxes[i],
                                   tri_manifest_blocks_of(part, &chunk.boxes[i])));
        }
    } while (chunk.n_boxes > 0);
    return TRI_OK;
}

static bool share_wants_all(void *arg, int64_t row, const tri_box *box)
{
    (void)arg, (void)row, (void)box;
    return true;
}

tri_status tri_manifest_replicate(tri_comm *comm, tri_manifest **manifest)
{
    if (tri_comm_size(comm) == 1) return TRI_OK;
    TRI_AUTO(tri_manifest) *part = NULL;
    const tri_manifest_filter all = {.wants = share_wants_all};
    TRI_TRY(tri_manifest_broadcast(comm, *manifest, &part));
    TRI_TRY(tri_manifest_scatter(comm, *manifest, &all, part));
    if (!*manifest) *manifest = TRI_MOVE(part);
    return TRI_OK;
}
