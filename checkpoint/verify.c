// SPDX-License-Identifier: Apache-2.0
/* Verifying. The boxes in the order of files and bytes are one long run of blocks, of which each rank
 * takes an equal share of bytes; what lies outside the boxes of file i is compared by rank i modulo
 * their number, which also says whether the file is there and of its size. Rank 0 joins the findings.
 */
#include "checkpoint/verify.h"

#include "checkpoint/bytes.h"
#include "checkpoint/ckpt.h"
#include "checkpoint/disk.h"
#include "checkpoint/text.h"
#include "checkpoint/view.h"
#include "runtime/agree.h"
#include "runtime/base/alloc.h"
#include "runtime/base/crc.h"
#include "runtime/base/int.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A box in the order of the files. */
typedef struct verify_box {
    int64_t index; /* in the manifest */
    int64_t offset, bytes;
    int32_t file;
} verify_box;

/* A verification on this rank. */
typedef struct verify_job {
    tri_manifest *m;
    const char *path;
    int rank, n_ranks;
    verify_box *boxes; /* by file, then offset */
    char *buffer;      /* a block */
    tri_verify_report *report;
    tri_disk_fd fd; /* of file `open`; -1: it cannot be opened */
    int32_t open;   /* -1: none yet */
    int64_t bytes;  /* that it has */
} verify_job;

static void verify_job_destroy(verify_job *job)
{
    tri_manifest_destroy(&job->m);
    TRI_FREE(job->boxes);
    TRI_FREE(job->buffer);
    tri_disk_fd_destroy(&job->fd);
}

const char *tri_verify_kind_name(tri_verify_kind kind)
{
    static const char *const names[] = {
#define X(id, name) name,
        TRI_VERIFY_MAP(X)
#undef X
    };
    return names[kind];
}

void tri_verify_text(const tri_verify_finding *finding, char out[TRI_VERIFY_TEXT_BYTES])
{
    char box[TRI_TEXT_BYTES];
    if (finding->kind != TRI_VERIFY_ROW) {
        snprintf(out, TRI_VERIFY_TEXT_BYTES, "%s %s", finding->file, finding->why);
        return;
    }
    tri_text_box(&finding->box, box);
    int64_t end = finding->element + finding->n_elements;
    snprintf(out, TRI_VERIFY_TEXT_BYTES,
             "%s is damaged: row '%s', box %s, its elements [%lld, %lld), bytes [%lld, %lld): %s",
             finding->file, finding->row, box, (long long)finding->element, (long long)end,
             (long long)finding->begin, (long long)finding->end, finding->why);
}

/* Take a finding down: the first ones in full, the rest as a number. */
static void TRI_PRINTF(3, 4)
    verify_note(tri_verify_report *report, const tri_verify_finding *finding, const char *why, ...)
{
    report->n_findings++;
    if (report->n_listed == TRI_VERIFY_LISTED) return;
    tri_verify_finding *entry = &report->finding[report->n_listed++];
    *entry = *finding;
    va_list args;
    va_start(args, why);
    vsnprintf(entry->why, sizeof entry->why, why, args);
    va_end(args);
}

/* The failure of this thread as a finding. */
static void verify_note_error(tri_verify_report *report, const tri_verify_finding *finding)
{
    verify_note(report, finding, "%s", tri_err_last()->text);
    tri_err_clear();
}

static tri_verify_finding verify_of_file(const verify_job *job, int32_t file, tri_verify_kind kind)
{
    tri_verify_finding finding = {.kind = kind};
    snprintf(finding.file, sizeof finding.file, "%s", job->m->files[file].name);
    return finding;
}

/* Have a file open, or fd -1 and the error of this thread. */
static tri_status verify_open(verify_job *job, int32_t file)
{
    if (job->open == file && job->fd >= 0) return TRI_OK;
    char path[TRI_DISK_PATH_BYTES];
    tri_disk_fd_destroy(&job->fd);
    job->open = file;
    TRI_TRY(tri_disk_path(path, job->path, job->m->files[file].name, ""));
    return tri_disk_open(path, false, &job->fd, &job->bytes);
}

/* One block of a box: elements [first, first + count) of it. */
static tri_status verify_block(verify_job *job, const verify_box *entry, int64_t block)
{
    const tri_manifest_box *box = &job->m->boxes[entry->index];
    const tri_manifest_row *row = &job->m->rows[box->row];
    const tri_manifest_file *file = &job->m->files[entry->file];
    int64_t element_bytes = (int64_t)tri_dtype_bytes((tri_dtype)row->dtype);
    int64_t first = block * box->block_elements;
    int64_t count = tri_min64(box->block_elements, entry->bytes / element_bytes - first);
    tri_verify_finding finding = verify_of_file(job, entry->file, TRI_VERIFY_ROW);
    finding.begin = entry->offset + first * element_bytes;
    finding.end = finding.begin + count * element_bytes;
    snprintf(finding.row, sizeof finding.row, "%s", row->name);
    finding.box = tri_manifest_box_of(job->m, box);
    finding.element = first;
    finding.n_elements = count;

    if (verify_open(job, entry->file) != TRI_OK) {
        tri_err_clear(); /* named once, by the rank that looks at the whole file */
        return TRI_OK;
    }
    if (finding.end > job->bytes) {
        verify_note(job->report, &finding, "the file ends at byte %lld", (long long)job->bytes);
        return TRI_OK;
    }
    if (tri_disk_read(job->fd, file->name, job->buffer, finding.end - finding.begin,
                      finding.begin) != TRI_OK) {
        verify_note_error(job->report, &finding);
        return TRI_OK;
    }
    job->report->n_bytes += finding.end - finding.begin;
    int64_t crc = tri_crc32c(job->buffer, (size_t)(finding.end - finding.begin));
    int64_t want = job->m->blocks[box->first_block + block];
    if (crc != want)
        verify_note(job->report, &finding, "CRC32C %08llx, the manifest says %08llx",
                    (unsigned long long)crc, (unsigned long long)want);
    return TRI_OK;
}

/* This rank's share of the blocks: those that begin in its part of all bytes. */
static tri_status verify_blocks(verify_job *job)
{
    const tri_manifest *m = job->m;
    int64_t total = 0;
    for (int64_t i = 0; i < m->head.n_boxes; i++)
        total += job->boxes[i].bytes;
    int64_t share = total / job->n_ranks + 1;
    int64_t begin = share * job->rank;
    int64_t at = 0;
    for (int64_t i = 0; i < m->head.n_boxes && at < begin + share; i++) {
        const verify_box *entry = &job->boxes[i];
        const tri_manifest_box *box = &m->boxes[entry->index];
        int64_t block_bytes =
            box->block_elements * (int64_t)tri_dtype_bytes((tri_dtype)m->rows[box->row].dtype);
        int64_t first = at >= begin ? 0 : tri_round_up(begin - at, block_bytes) / block_bytes;
        for (int64_t b = first; b * block_bytes < entry->bytes; b++) {
            if (at + b * block_bytes >= begin + share) break;
            TRI_TRY(verify_block(job, entry, b));
        }
        at += entry->bytes;
    }
    return TRI_OK;
}

/* CRC of bytes [begin, end) of the open file, added to *crc. */
static tri_status verify_gap(verify_job *job, int64_t begin, int64_t end, uint32_t *crc)
{
    for (int64_t at = begin; at < end;) {
        int64_t n = tri_min64(end - at, TRI_MANIFEST_BLOCK_BYTES);
        TRI_TRY(tri_disk_read(job->fd, job->m->files[job->open].name, job->buffer, n, at));
        *crc = tri_crc32c_extend(*crc, job->buffer, (size_t)n);
        job->report->n_bytes += n;
        at += n;
    }
    return TRI_OK;
}

/* What lies outside the boxes of a file of the right size, whose boxes are [first, end) of the order. */
static tri_status verify_outside(verify_job *job, int32_t file, int64_t first, int64_t end)
{
    tri_verify_finding finding = verify_of_file(job, file, TRI_VERIFY_OUTSIDE);
    uint32_t crc = 0;
    int64_t at = 0;
    tri_status rc = TRI_OK;
    for (int64_t i = first; i < end && rc == TRI_OK; i++) {
        if (job->boxes[i].offset < at) {
            verify_note(job->report, &finding, "has two boxes that overlap at byte %lld",
                        (long long)job->boxes[i].offset);
            return TRI_OK;
        }
        rc = verify_gap(job, at, job->boxes[i].offset, &crc);
        at = job->boxes[i].offset + job->boxes[i].bytes;
    }
    if (rc == TRI_OK) rc = verify_gap(job, at, job->bytes, &crc);
    int64_t want = job->m->files[file].rest_crc;
    finding.kind = rc == TRI_OK ? TRI_VERIFY_OUTSIDE : TRI_VERIFY_UNREADABLE;
    if (rc != TRI_OK)
        verify_note_error(job->report, &finding);
    else if (crc != want)
        verify_note(job->report, &finding,
                    "is damaged outside its rows: CRC32C %08llx, the manifest says %08llx",
                    (unsigned long long)crc, (unsigned long long)want);
    return TRI_OK;
}

static tri_status verify_file(verify_job *job, int32_t file, int64_t first, int64_t end)
{
    const tri_manifest_file *entry = &job->m->files[file];
    tri_verify_finding finding = verify_of_file(job, file, TRI_VERIFY_MISSING);
    if (verify_open(job, file) != TRI_OK) {
        tri_err cause;
        tri_err_take(&cause);
        verify_note(job->report, &finding, "cannot be read (%s); it has %lld boxes", cause.text,
                    (long long)(end - first));
        return TRI_OK;
    }
    finding.kind = TRI_VERIFY_SIZE;
    if (job->bytes != entry->bytes) {
        verify_note(job->report, &finding, "has %lld bytes, the manifest says %lld",
                    (long long)job->bytes, (long long)entry->bytes);
        return TRI_OK;
    }
    return verify_outside(job, file, first, end);
}

/* This rank's share of the files. */
static tri_status verify_files(verify_job *job)
{
    int64_t first = 0;
    for (int32_t file = 0; file < job->m->head.n_files; file++) {
        int64_t end = first;
        while (end < job->m->head.n_boxes && job->boxes[end].file == file)
            end++;
        if (file % job->n_ranks == job->rank) TRI_TRY(verify_file(job, file, first, end));
        first = end;
    }
    return TRI_OK;
}

static int verify_order(const void *a, const void *b)
{
    const verify_box *x = a;
    const verify_box *y = b;
    if (x->file != y->file) return x->file < y->file ? -1 : 1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static tri_status verify_mine(verify_job *job)
{
    const tri_manifest *m = job->m;
    TRI_TRY(TRI_NEW_ARRAY(TRI_MANIFEST_BLOCK_BYTES, &job->buffer));
    TRI_TRY(TRI_NEW_ARRAY(m->head.n_boxes, &job->boxes));
    for (int64_t i = 0; i < m->head.n_boxes; i++) {
        tri_box box = tri_manifest_box_of(m, &m->boxes[i]);
        tri_dtype dtype = (tri_dtype)m->rows[m->boxes[i].row].dtype;
        job->boxes[i] =
            (verify_box){.index = i,
                         .offset = m->boxes[i].offset,
                         .bytes = tri_box_elements(&box) * (int64_t)tri_dtype_bytes(dtype),
                         .file = m->boxes[i].file};
    }
    if (m->head.n_boxes)
        qsort(job->boxes, (size_t)m->head.n_boxes, sizeof *job->boxes, verify_order);
    TRI_TRY(verify_blocks(job));
    return verify_files(job);
}

static int verify_order_findings(const void *a, const void *b)
{
    const tri_verify_finding *x = a;
    const tri_verify_finding *y = b;
    int files = strcmp(x->file, y->file);
    if (files) return files;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

/* Rank 0's report = that of all; the others keep the numbers. */
static tri_status verify_join(tri_comm *world, tri_verify_report *report)
{
    int64_t sums[2] = {report->n_findings, report->n_bytes};
    TRI_TRY(tri_allreduce(world, tri_span_make(sums, 2, TRI_I64), TRI_SUM, NULL));
    report->n_findings = sums[0];
    report->n_bytes = sums[1];
    if (sums[0] == 0) return TRI_OK;
    TRI_AUTO(tri_bytes) all = {0};
    TRI_TRY(tri_bytes_append(&all, report->finding,
                             report->n_listed * (int64_t)sizeof *report->finding));
    TRI_TRY(tri_bytes_gather(world, &all));
    int64_t n = all.n / (int64_t)sizeof *report->finding;
    if (n) qsort(all.data, (size_t)n, sizeof *report->finding, verify_order_findings);
    report->n_listed = tri_min64(n, TRI_VERIFY_LISTED);
    if (n) memcpy(report->finding, all.data, (size_t)report->n_listed * sizeof *report->finding);
    return TRI_OK;
}

/* Rank 0 reads the manifest, or finds it damaged: then m stays NULL. */
static tri_status verify_manifest(const char *path, tri_manifest **m, tri_verify_report *report)
{
    tri_status rc = tri_manifest_read(path, m);
    if (rc != TRI_EFORMAT && rc != TRI_EUNSUP) return rc;
    tri_verify_finding finding = {.kind = TRI_VERIFY_MANIFEST, .file = TRI_MANIFEST_NAME};
    tri_err cause;
    tri_err_take(&cause);
    verify_note(report, &finding, "cannot be used, and so nothing be compared: %s", cause.text);
    return TRI_OK;
}

/* Rank 0, when all bytes are what was written: HDF5 may look now. */
static tri_status verify_view(const tri_manifest *m, const char *path, tri_verify_report *report)
{
    char file[TRI_DISK_PATH_BYTES];
    TRI_TRY(tri_disk_path(file, path, TRI_MANIFEST_VIEW, ""));
    tri_status rc = tri_view_check(m, file);
    if (rc != TRI_EFORMAT && rc != TRI_EIO) return rc;
    tri_verify_finding finding = {.kind = TRI_VERIFY_VIEW, .file = TRI_MANIFEST_VIEW};
    verify_note_error(report, &finding);
    return TRI_OK;
}

tri_status tri_verify(const char *path, tri_comm *world, tri_verify_report *out)
{
    memset(out, 0, sizeof *out);
    TRI_AUTO(verify_job) job = {.path = path, .n_ranks = 1, .report = out, .fd = -1, .open = -1};
    if (world) job.rank = tri_comm_rank(world);
    if (world) job.n_ranks = tri_comm_size(world);
    bool is_root = job.rank == 0;
    bool is_many = job.n_ranks > 1;
    tri_status rc = is_root ? verify_manifest(path, &job.m, out) : TRI_OK;
    TRI_TRY(is_many ? tri_agree(world, rc) : rc);
    int64_t n = out->n_findings;
    if (is_many) TRI_TRY(tri_broadcast(world, tri_span_make(&n, 1, TRI_I64), 0, NULL));
    out->n_findings = n;
    if (n) return TRI_OK;
    if (is_many) TRI_TRY(tri_manifest_replicate(world, &job.m));
    out->n_files = job.m->head.n_files;
    out->n_rows = job.m->head.n_rows;
    out->n_boxes = job.m->head.n_boxes;
    rc = verify_mine(&job);
    TRI_TRY(is_many ? tri_agree(world, rc) : rc);
    if (is_many) TRI_TRY(verify_join(world, out));
    if (!is_many && out->n_listed)
        qsort(out->finding, (size_t)out->n_listed, sizeof *out->finding, verify_order_findings);
    rc = is_root && out->n_findings == 0 ? verify_view(job.m, path, out) : TRI_OK;
    TRI_TRY(is_many ? tri_agree(world, rc) : rc);
    n = out->n_findings;
    if (is_many) TRI_TRY(tri_broadcast(world, tri_span_make(&n, 1, TRI_I64), 0, NULL));
    out->n_findings = n;
    return TRI_OK;
}

tri_status tri_ckpt_verify(const char *path)
{
    tri_verify_report *report = NULL;
    char text[TRI_VERIFY_TEXT_BYTES] = "";
    TRI_TRY(TRI_NEW(&report));
    tri_status rc = tri_verify(path, NULL, report);
    int64_t n = report->n_findings;
    if (rc == TRI_OK && n) tri_verify_text(&report->finding[0], text);
    TRI_FREE(report);
    TRI_TRY(rc);
    TRI_CHECK(n == 0, TRI_EFORMAT, "%s/%s", path, text);
    return TRI_OK;
}
