// SPDX-License-Identifier: Apache-2.0
/* The nested groups. With i the rank among the n of data x context, groups are blocks of neighbours.
 * In a gradient group of g ranks, in which weights are shared by w, rank j = jo*w + jw has gradient
 * piece jw*(g/w) + jo: so it lies in weight piece jw. In an optimizer group, the k-th gradient group
 * updates the k-th part of each gradient piece.
 */
#include "parallel/zero/zero_impl.h"

#include <stdlib.h>

/* The divisor of n nearest to `wanted`. */
static int nearest_divisor(int n, int wanted)
{
    int best = 1;
    for (int64_t d = 1; d * d <= n; d++) {
        if (n % d != 0) continue;
        int pair[2] = {(int)d, n / (int)d};
        for (int i = 0; i < 2; i++)
            if (abs(pair[i] - wanted) < abs(best - wanted)) best = pair[i];
    }
    return best;
}

tri_status tri_zero_check(const int group[3], int n_ranks)
{
    int w = group[0], g = group[1], o = group[2];
    bool is_legal =
        w >= 1 && g >= 1 && o >= 1 && n_ranks >= 1 && n_ranks % o == 0 && o % g == 0 && g % w == 0;
    if (is_legal) return TRI_OK;
    int near_o = nearest_divisor(n_ranks, o);
    int near_g = nearest_divisor(near_o, g);
    int near_w = nearest_divisor(near_g, w);
    TRI_FAIL(TRI_EINVAL,
             "parallel.zero [%d, %d, %d] over %d data x context ranks: weights must divide "
             "gradients, gradients optimizer, optimizer the ranks; [%d, %d, %d] would do",
             w, g, o, n_ranks, near_w, near_g, near_o);
}

/* A group: the ranks of one pipeline and tensor place that have the same `which`. */
typedef struct group_args {
    const char *name;
    int size, which, key;
    bool in_order; /* on all ranks the key is the place among neighbours */
} group_args;

static tri_status make_group(tri_zero *zero, group_args args, zero_group *out)
{
    *out = (zero_group){.size = args.size, .name = args.name};
    if (args.size == 1) return TRI_OK;
    tri_mesh *mesh = zero->args.mesh;
    if (args.size == zero->ranks && args.in_order) {
        out->comm = tri_mesh_comm(mesh, ZERO_AXES);
        out->name = "data x context";
        return TRI_OK;
    }
    unsigned others = TRI_AXIS_BIT(TRI_AXIS_PIPELINE) | TRI_AXIS_BIT(TRI_AXIS_TENSOR);
    int color = tri_mesh_index(mesh, others) * zero->ranks + args.which;
    TRI_TRY(tri_mesh_group(mesh, args.size, color, args.key, &out->comm));
    tri_comm_set_name(out->comm, args.name);
    return TRI_OK;
}

/* Of matrices. Groups of the same ranks in the same order are one. */
static tri_status make_matrix_groups(tri_zero *zero)
{
    zero_split *split = &zero->split[ZERO_MATRICES];
    const int *size = zero->args.group;
    int w = size[ZERO_WEIGHTS], g = size[ZERO_GRADIENTS], o = size[ZERO_OPTIMIZER];
    int i = zero->index;
    int jw = i % w, jo = i % g / w, k = i % o / g;
    for (int level = 0; level < ZERO_LEVELS; level++)
        split->size[level] = size[level];
    split->at[ZERO_WEIGHTS] = jw;
    split->at[ZERO_GRADIENTS] = jw * (g / w) + jo;
    split->at[ZERO_OPTIMIZER] = split->at[ZERO_GRADIENTS] * (o / g) + k;

    group_args reduce = {"zero gradients", g, i / g, split->at[ZERO_GRADIENTS], w == 1 || w == g};
    group_args unit = {"zero weights", w, i / w, jw, true};
    group_args publish = {"zero publish", g / w, i / g * w + jw, jo, true};
    group_args finish = {"zero optimizer", o / g, i / o * g + i % g, k, true};
    TRI_TRY(make_group(zero, reduce, &split->reduce));
    split->unit = split->reduce;
    split->publish = split->reduce;
    if (w != g) TRI_TRY(make_group(zero, unit, &split->unit));
    if (w != 1) TRI_TRY(make_group(zero, publish, &split->publish));
    TRI_TRY(make_group(zero, finish, &split->finish));
    return TRI_OK;
}

/* Of vectors: whole but for what is updated, by the same rank as that piece of matrices. */
static tri_status make_vector_groups(tri_zero *zero)
{
    const zero_split *matrices = &zero->split[ZERO_MATRICES];
    zero_split *split = &zero->split[ZERO_VECTORS];
    int g = matrices->size[ZERO_GRADIENTS], o = matrices->size[ZERO_OPTIMIZER];
    *split = (zero_split){
        .size = {1, 1, o                           },
          .at = {0, 0, matrices->at[ZERO_OPTIMIZER]}
    };
    split->unit = split->reduce = split->publish = (zero_group){.size = 1, .name = "none"};
    group_args finish = {"zero vectors", o, zero->index / o, split->at[ZERO_OPTIMIZER], false};
    if (g == 1)
        split->finish = matrices->finish;
    else if (g == o)
        split->finish = matrices->reduce;
    else
        TRI_TRY(make_group(zero, finish, &split->finish));
    return TRI_OK;
}

/* A group for each number of tensor ranks over which some gradient is partial; all ranks know of all
 * parameters, so all make the same groups. */
static tri_status make_tensor_groups(tri_zero *zero)
{
    tri_mesh *mesh = zero->args.mesh;
    int size = tri_mesh_size(mesh, TRI_AXIS_TENSOR);
    for (int i = 0; i < zero->args.n_params; i++) {
        int sum = zero->given[i].tensor_sum;
        const char *name = tri_state_row(zero->args.state, zero->args.first_row + i)->name;
        TRI_CHECK(sum >= 1 && size % sum == 0, TRI_EBUG,
                  "the gradient of %s is partial over %d of %d tensor ranks", name, sum, size);
        int s = 0;
        while (s < zero->n_sums && zero->sums[s].group.size != sum)
            s++;
        if (sum == 1 || s < zero->n_sums) continue;
        TRI_CHECK(s < ZERO_SUMS, TRI_EBUG, "more than %d sizes of tensor groups", ZERO_SUMS);
        zero_group *group = &zero->sums[zero->n_sums++].group;
        *group = (zero_group){.size = sum, .name = "tensor"};
        if (sum == size) {
            TRI_TRY(tri_mesh_declare(mesh, TRI_AXIS_BIT(TRI_AXIS_TENSOR)));
            group->comm = tri_mesh_comm(mesh, TRI_AXIS_BIT(TRI_AXIS_TENSOR));
            continue;
        }
        int rank = tri_mesh_rank(mesh); /* tensor is the innermost axis */
        TRI_TRY(tri_mesh_group(mesh, sum, rank / sum, rank % sum, &group->comm));
        tri_comm_set_name(group->comm, "tensor neighbours");
    }
    return TRI_OK;
}

tri_status tri_zero_groups_make(tri_zero *zero)
{
    int o = zero->args.group[ZERO_OPTIMIZER];
    TRI_TRY(tri_mesh_declare(zero->args.mesh, ZERO_AXES));
    TRI_TRY(make_matrix_groups(zero));
    TRI_TRY(make_vector_groups(zero));
    group_args replica = {"zero replicas", zero->ranks / o, zero->index % o, zero->index / o, true};
    TRI_TRY(make_group(zero, replica, &zero->replica));
    TRI_TRY(make_tensor_groups(zero));
    return TRI_OK;
}
