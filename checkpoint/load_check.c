// SPDX-License-Identifier: Apache-2.0
/* Each rank compares its rows; what the ranks saw is joined, so that a row of the checkpoint that no
 * rank has is found, and rank 0 can judge and say what is changed on the way.
 */
#include "checkpoint/load_check.h"

#include "checkpoint/row_reader.h"
#include "runtime/agree.h"
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"
#include "runtime/base/log.h"

#include <stdio.h>
#include <string.h>

enum { LOAD_SHAPE_BYTES = 96, LOAD_STATES_BYTES = 160, LOAD_PIECE_BYTES = 1 << 20 };

/* What the ranks that hold a row of the manifest say of it; 0 everywhere: no rank has it. */
typedef struct load_seen {
    int64_t is_seen;
    int64_t dtype; /* of the job's row */
    int64_t
        ids; /* token ids of the job's row, where they are not those of the checkpoint; else 0 */
    int64_t is_lost; /* ids that are not zero are left out */
} load_seen;

enum { LOAD_SEEN_NUMBERS = sizeof(load_seen) / sizeof(int64_t) };

typedef load_seen *load_seen_rows;
typedef char *load_bytes;

static void load_seen_rows_destroy(load_seen_rows *rows)
{
    TRI_FREE(*rows);
}

static void load_bytes_destroy(load_bytes *bytes)
{
    TRI_FREE(*bytes);
}

typedef struct load_check {
    const tri_ckpt_load_args *args;
    const tri_manifest *m;     /* its rows */
    const tri_manifest *whole; /* rank 0 */
    load_seen *seen;
} load_check;

bool tri_load_wants(const tri_ckpt_load_args *args, int role)
{
    return args->roles == 0 || (args->roles & 1u << role);
}

/* "fp32 [512, 64]" */
static void describe(int dtype, int n_dims, const int64_t *shape, char out[LOAD_SHAPE_BYTES])
{
    int n = snprintf(out, LOAD_SHAPE_BYTES, "%s [", tri_dtype_name((tri_dtype)dtype));
    for (int d = 0; d < n_dims && n < LOAD_SHAPE_BYTES; d++)
        n += snprintf(out + n, (size_t)(LOAD_SHAPE_BYTES - n), "%s%lld", d ? ", " : "",
                      (long long)shape[d]);
    if (n < LOAD_SHAPE_BYTES) snprintf(out + n, (size_t)(LOAD_SHAPE_BYTES - n), "]");
}

/* Add the kind of a state, "NAME/MOMENT" of "optim/NAME/MOMENT/PARAM", to a list unless it is there. */
static void add_state(const char *row, char list[LOAD_STATES_BYTES])
{
    const char *name = strchr(row, '/');
    const char *slash = name ? strchr(name + 1, '/') : NULL;
    const char *end = slash ? strchr(slash + 1, '/') : NULL;
    char kind[TRI_NAME_BYTES + 2];
    int n = end ? (int)(end - name - 1) : (int)strlen(row);
    snprintf(kind, sizeof kind, "%.*s, ", n, end ? name + 1 : row);
    size_t used = strlen(list);
    if (!strstr(list, kind) && used + strlen(kind) < LOAD_STATES_BYTES)
        snprintf(list + used, LOAD_STATES_BYTES - used, "%s", kind);
}

/* A list without its last comma. */
static void end_states(char list[LOAD_STATES_BYTES])
{
    size_t n = strlen(list);
    if (n)
        list[n - 2] = '\0';
    else
        snprintf(list, LOAD_STATES_BYTES, "none");
}

/* The states of the checkpoint's optimizer are not those that the job's keeps. */
static tri_status other_optimizer(const load_check *check)
{
    char have[LOAD_STATES_BYTES] = "";
    char need[LOAD_STATES_BYTES] = "";
    const tri_manifest *m = check->m;
    const tri_state *state = check->args->state;
    for (int64_t i = 0; i < m->head.n_rows; i++)
        if (m->rows[i].role == TRI_ROLE_OPTIM) add_state(m->rows[i].name, have);
    for (int i = 0; i < tri_state_rows(state); i++)
        if (tri_state_row(state, i)->role == TRI_ROLE_OPTIM)
            add_state(tri_state_row(state, i)->name, need);
    end_states(have);
    end_states(need);
    TRI_FAIL(TRI_EINVAL,
             "checkpoint %s is of another optimizer: it has these states: %s; this job keeps: %s. "
             "checkpoint.optimizer: fresh begins them anew and takes all else",
             check->args->path, have, need);
}

static bool is_cast(const load_check *check, const tri_row *row, const tri_manifest_row *stored)
{
    return check->args->casts && (row->role == TRI_ROLE_PARAM || row->role == TRI_ROLE_OPTIM) &&
           tri_dtype_is_float(row->dtype) && tri_dtype_is_float((tri_dtype)stored->dtype);
}

/* *is_zero: the ids of row `index` of the checkpoint beyond those of the job are all zero. */
static tri_status look_at_surplus(const load_check *check, int64_t index, bool *is_zero)
{
    const tri_manifest_row *stored = &check->whole->rows[index];
    int64_t element_bytes = (int64_t)tri_dtype_bytes((tri_dtype)stored->dtype);
    int64_t line = 1;
    for (int d = 1; d < stored->n_dims; d++)
        line *= stored->shape[d];
    TRI_AUTO(load_bytes) bytes = NULL;
    TRI_AUTO(tri_row_reader) *reader = NULL;
    TRI_TRY(TRI_NEW_ARRAY(LOAD_PIECE_BYTES, &bytes));
    TRI_TRY(tri_row_reader_create(check->whole, check->args->path, &reader));
    bool zero = true;
    int64_t end = stored->shape[0] * line;
    int64_t most = LOAD_PIECE_BYTES / element_bytes;
    for (int64_t at = check->seen[index].ids * line; at < end && zero; at += most) {
        int64_t n = tri_min64(most, end - at);
        TRI_TRY(tri_row_reader_read(reader, index, at, n, bytes));
        for (int64_t i = 0; i < n * element_bytes; i++)
            zero = zero && bytes[i] == 0;
    }
    *is_zero = zero;
    return TRI_OK;
}

static tri_status check_row(const load_check *check, const tri_row *row)
{
    const char *path = check->args->path;
    char need[LOAD_SHAPE_BYTES];
    char have[LOAD_SHAPE_BYTES];
    describe((int)row->dtype, row->n_dims, row->shape, need);
    int64_t index = tri_manifest_find(check->m, row->name);
    if (index < 0 && row->role == TRI_ROLE_POLICY) return TRI_OK;
    if (index < 0 && row->role == TRI_ROLE_OPTIM) TRI_TRY(other_optimizer(check));
    TRI_CHECK(index >= 0, TRI_EINVAL,
              "checkpoint %s of another model: it has no row '%s', which this job needs as %s",
              path, row->name, need);
    const tri_manifest_row *stored = &check->m->rows[index];
    describe(stored->dtype, stored->n_dims, stored->shape, have);
    bool same_type = stored->dtype == (int32_t)row->dtype || is_cast(check, row, stored);
    bool same_inner = stored->n_dims == row->n_dims;
    for (int d = 1; same_inner && d < row->n_dims; d++)
        same_inner = stored->shape[d] == row->shape[d];
    bool same_outer = stored->shape[0] == row->shape[0];
    TRI_CHECK(same_type && same_inner && (same_outer || row->vocabulary), TRI_EINVAL,
              "checkpoint %s of another model: row '%s' is %s, this job needs %s", path, row->name,
              have, need);
    TRI_CHECK(row->count == 0 || row->data, TRI_EBUG, "row '%s' is loaded before it has memory",
              row->name);
    check->seen[index].is_seen = 1;
    check->seen[index].dtype = (int64_t)row->dtype;
    if (!same_outer) check->seen[index].ids = row->shape[0];
    return TRI_OK;
}

/* This rank's rows must be in the manifest. */
static tri_status check_mine(const load_check *check)
{
    for (int i = 0; i < tri_state_rows(check->args->state); i++) {
        const tri_row *row = tri_state_row(check->args->state, i);
        if (tri_load_wants(check->args, (int)row->role)) TRI_TRY(check_row(check, row));
    }
    return TRI_OK;
}

/* Every row of the manifest must be a row of some rank. */
static tri_status check_all(const load_check *check)
{
    for (int64_t i = 0; i < check->m->head.n_rows; i++) {
        const tri_manifest_row *row = &check->m->rows[i];
        if (check->seen[i].is_seen || !tri_load_wants(check->args, row->role)) continue;
        if (row->role == TRI_ROLE_POLICY) continue;
        if (row->role == TRI_ROLE_OPTIM) TRI_TRY(other_optimizer(check));
        char have[LOAD_SHAPE_BYTES];
        describe(row->dtype, row->n_dims, row->shape, have);
        TRI_FAIL(TRI_EINVAL,
                 "checkpoint %s of another model: it has row '%s' as %s, which this job has not",
                 check->args->path, row->name, have);
    }
    return TRI_OK;
}

/* One line for each pair of types. */
static void log_casts(const load_check *check)
{
    int64_t n[TRI_DTYPES][TRI_DTYPES] = {{0}};
    for (int64_t i = 0; i < check->m->head.n_rows; i++)
        if (check->seen[i].is_seen) n[check->m->rows[i].dtype][check->seen[i].dtype]++;
    for (int from = 0; from < TRI_DTYPES; from++)
        for (int to = 0; to < TRI_DTYPES; to++)
            if (from != to && n[from][to])
                tri_log(TRI_LOG_INFO, "checkpoint %s: %lld row%s of %s become%s %s",
                        check->args->path, (long long)n[from][to], n[from][to] == 1 ? "" : "s",
                        tri_dtype_name((tri_dtype)from), n[from][to] == 1 ? "s" : "",
                        tri_dtype_name((tri_dtype)to));
}

/* Rank 0: refuse another vocabulary, or say what becomes of it. All rows of a job that have one have the same;
 * of these the parameters are looked at: a parameter that stayed zero has moments that are. */
static tri_status check_vocabulary(const load_check *check)
{
    const tri_manifest *m = check->m;
    int64_t first = -1;
    int64_t n = 0;
    bool is_zero = true;
    for (int64_t i = 0; i < m->head.n_rows; i++) {
        if (!check->seen[i].ids) continue;
        first = i;
        n++;
        bool looks = m->rows[i].role == TRI_ROLE_PARAM && check->seen[i].ids < m->rows[i].shape[0];
        if (looks && is_zero) TRI_TRY(look_at_surplus(check, i, &is_zero));
    }
    if (first < 0) return TRI_OK;
    long long have = m->rows[first].shape[0];
    long long need = check->seen[first].ids;
    char change[96];
    if (have < need)
        snprintf(change, sizeof change, "the missing %lld are zeros", need - have);
    else
        snprintf(change, sizeof change, "the last %lld are left out, which are %s", have - need,
                 is_zero ? "all zero: mere padding" : "not all zero");
    TRI_CHECK(check->args->resize_vocab, TRI_EINVAL,
              "checkpoint %s has a vocabulary of %lld ids, this job one of %lld (row '%s'). With "
              "checkpoint.resize_vocab: true %s",
              check->args->path, have, need, m->rows[first].name, change);
    tri_log(is_zero ? TRI_LOG_INFO : TRI_LOG_WARN,
            "checkpoint %s: a vocabulary of %lld ids becomes one of %lld (%lld row%s): %s",
            check->args->path, have, need, (long long)n, n == 1 ? "" : "s", change);
    return TRI_OK;
}

static tri_status check_root(const load_check *check)
{
    TRI_TRY(check_vocabulary(check));
    log_casts(check);
    return TRI_OK;
}

tri_status tri_load_check(const tri_ckpt_load_args *args, const tri_manifest *m,
                          const tri_manifest *whole)
{
    TRI_AUTO(load_seen_rows) seen = NULL;
    tri_status rc = TRI_NEW_ARRAY(m->head.n_rows, &seen);
    load_check check = {args, m, whole, seen};
    TRI_TRY(tri_agree(args->world, rc == TRI_OK ? check_mine(&check) : rc));
    tri_span all = tri_span_make(seen, LOAD_SEEN_NUMBERS * m->head.n_rows, TRI_I64);
    TRI_TRY(tri_allreduce(args->world, all, TRI_MAX, NULL));
    TRI_TRY(tri_agree(args->world, check_all(&check)));
    return tri_agree(args->world, whole ? check_root(&check) : TRI_OK);
}

tri_status tri_ckpt_has_rows(const tri_ckpt_load_args *args, bool *same)
{
    TRI_AUTO(tri_manifest) *whole = NULL;
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_AUTO(load_seen_rows) seen = NULL;
    bool root = tri_comm_rank(args->world) == 0;
    TRI_TRY(tri_agree(args->world, root ? tri_manifest_read(args->path, &whole) : TRI_OK));
    TRI_TRY(tri_manifest_broadcast(args->world, whole, &m));
    TRI_TRY(tri_agree(args->world, TRI_NEW_ARRAY(m->head.n_rows, &seen)));
    int64_t differs = 0;
    for (int i = 0; i < tri_state_rows(args->state); i++) {
        const tri_row *row = tri_state_row(args->state, i);
        int64_t index = tri_manifest_find(m, row->name);
        if (index >= 0) seen[index].is_seen = 1;
        if (index < 0 && tri_load_wants(args, (int)row->role)) differs = 1;
    }
    tri_span all = tri_span_make(seen, LOAD_SEEN_NUMBERS * m->head.n_rows, TRI_I64);
    TRI_TRY(tri_allreduce(args->world, all, TRI_MAX, NULL));
    for (int64_t i = 0; i < m->head.n_rows; i++)
        if (!seen[i].is_seen && tri_load_wants(args, m->rows[i].role)) differs = 1;
    TRI_TRY(tri_allreduce(args->world, tri_span_make(&differs, 1, TRI_I64), TRI_MAX, NULL));
    *same = !differs;
    return TRI_OK;
}
