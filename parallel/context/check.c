// SPDX-License-Identifier: Apache-2.0
/* Which splits of the context axis are legal, and what is nearest to those that are not. */
#include "parallel/context/context_impl.h"

#include "runtime/base/int.h"

#include <stdio.h>

enum { CHECK_TEXT_BYTES = 96 };

typedef struct check_case {
    tri_context_mode mode;
    int size;
    int64_t heads, kv_heads;
} check_case;

int tri_context_degree(tri_context_mode mode, int size, int n_ulysses)
{
    return mode == TRI_CONTEXT_ULYSSES && n_ulysses == 1 ? size : n_ulysses;
}

/* Can heads be shared out over `n` ranks? In mode ulysses n is the axis itself. */
static bool degree_is_legal(const check_case *c, int64_t n)
{
    bool divides = c->mode == TRI_CONTEXT_ULYSSES || c->size % n == 0;
    return divides && c->heads % n == 0 && (c->kv_heads % n == 0 || n % c->kv_heads == 0);
}

/* "nearest: 2 or 4": legal degrees on both sides of `n`; 1 is always legal. */
static void nearest_degrees(const check_case *c, int64_t n, char text[CHECK_TEXT_BYTES])
{
    int64_t below = tri_min64(n, c->heads);
    while (!degree_is_legal(c, below))
        below--;
    int64_t above = n + 1;
    while (above <= c->heads && !degree_is_legal(c, above))
        above++;
    if (above > c->heads)
        snprintf(text, CHECK_TEXT_BYTES, "nearest: %lld", (long long)below);
    else
        snprintf(text, CHECK_TEXT_BYTES, "nearest: %lld or %lld", (long long)below,
                 (long long)above);
}

static tri_status check_degree(const check_case *c, int64_t n)
{
    char nearest[CHECK_TEXT_BYTES];
    if (degree_is_legal(c, n)) return TRI_OK;
    nearest_degrees(c, n, nearest);
    bool all = c->mode == TRI_CONTEXT_ULYSSES;
    const char *key = all ? "parallel.context" : "parallel.ulysses";
    const char *advice = all ? "; parallel.context_mode ring and allgather share out no heads" : "";
    TRI_CHECK(all || c->size % n == 0, TRI_EINVAL,
              "parallel.ulysses %lld does not divide parallel.context %d; %s", (long long)n,
              c->size, nearest);
    TRI_CHECK(
        c->heads % n == 0, TRI_EINVAL,
        "%s %lld does not divide the %lld heads of a tensor rank (model.heads), which ulysses "
        "shares out; %s%s",
        key, (long long)n, (long long)c->heads, nearest, advice);
    TRI_FAIL(
        TRI_EINVAL,
        "%s %lld neither divides the %lld key/value heads of a tensor rank (model.kv_heads) nor "
        "is a multiple of them: ulysses would give a rank parts of two heads' queries; %s%s",
        key, (long long)n, (long long)c->kv_heads, nearest, advice);
}

static tri_status check_length(int64_t length, int n_ring, int n_ulysses)
{
    /* two equal chunks a ring place, and their concatenation in equal parts */
    int64_t unit = (int64_t)n_ring * n_ulysses;
    if (n_ring > 1 && n_ulysses % 2 != 0) unit *= 2;
    if (length > 0 && length % unit == 0) return TRI_OK;
    int64_t below = length / unit * unit;
    int64_t above = below + unit;
    char nearest[CHECK_TEXT_BYTES];
    if (below > 0)
        snprintf(nearest, sizeof nearest, "%lld or %lld", (long long)below, (long long)above);
    else
        snprintf(nearest, sizeof nearest, "%lld", (long long)unit);
    TRI_FAIL(
        TRI_EINVAL,
        "model.context %lld is not a multiple of %lld, as parallel.context %d needs (%d places "
        "of %s%s); nearest: %s",
        (long long)length, (long long)unit, n_ring * n_ulysses, n_ring * n_ulysses,
        n_ring > 1 ? "two chunks each" : "equal length",
        n_ring > 1 && n_ulysses > 1 ? ", shared out by parallel.ulysses" : "", nearest);
}

tri_status tri_context_check(tri_context_mode mode, int size, int n_ulysses, int64_t length,
                             int64_t heads, int64_t kv_heads)
{
    check_case c = {mode, size, heads, kv_heads};
    TRI_CHECK(size >= 1 && heads >= 1 && kv_heads >= 1 && heads % kv_heads == 0, TRI_EINVAL,
              "parallel.context %d over %lld heads and %lld key/value heads", size,
              (long long)heads, (long long)kv_heads);
    TRI_CHECK(n_ulysses >= 1, TRI_EINVAL, "parallel.ulysses %d is less than 1", n_ulysses);
    int n = tri_context_degree(mode, size, n_ulysses);
    TRI_CHECK(mode != TRI_CONTEXT_ULYSSES || n == size, TRI_EINVAL,
              "parallel.ulysses %d with parallel.context_mode ulysses: all of parallel.context %d "
              "is ulysses; leave it at 1 or set %d, or choose parallel.context_mode ring",
              n, size, size);
    TRI_TRY(check_degree(&c, n));
    TRI_TRY(check_length(length, size / n, n));
    return TRI_OK;
}
