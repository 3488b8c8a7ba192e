// SPDX-License-Identifier: Apache-2.0
/* MPI's own reductions and gathers, for comparison only (trireme bench collective): they block the
 * engine and state no order. Everything else is backend mpi.
 */
#include "runtime/base/int.h"
#include "runtime/coll/mpi_impl.h"

static tri_status native_progress(tri_coll_work *work, bool *done)
{
    static const struct {
        MPI_Datatype type;
        tri_dtype dtype;
    } types[] = {
        {MPI_FLOAT,   TRI_F32},
        {MPI_DOUBLE,  TRI_F64},
        {MPI_INT64_T, TRI_I64}
    };
    mpi_state *mpi = work->comm->state;
    MPI_Datatype type = MPI_DATATYPE_NULL;
    for (int i = 0; i < 3; i++)
        if (types[i].dtype == work->in.dtype) type = types[i].type;
    int count = 0;
    TRI_TRY(
        tri_int(work->kind == TRI_COLL_REDUCE_SCATTER ? work->out.count : work->in.count, &count));
    MPI_Op op = work->op == TRI_SUM ? MPI_SUM : work->op == TRI_MAX ? MPI_MAX : MPI_MIN;
    if (type == MPI_DATATYPE_NULL) {
        TRI_TRY(tri_coll_mpi.progress(work, done));
    } else if (work->kind == TRI_COLL_ALLREDUCE) {
        TRI_TRY(TRI_MPI(MPI_Allreduce(MPI_IN_PLACE, work->in.data, count, type, op, mpi->comm)));
        *done = true;
    } else if (work->kind == TRI_COLL_REDUCE_SCATTER) {
        TRI_TRY(TRI_MPI(MPI_Reduce_scatter_block(work->in.data, work->out.data, count, type,
                                                 MPI_SUM, mpi->comm)));
        *done = true;
    } else if (work->kind == TRI_COLL_ALLGATHER) {
        bool in_place = work->in.data ==
                        tri_span_part(work->out, work->comm->rank * (int64_t)count, count).data;
        TRI_TRY(TRI_MPI(MPI_Allgather(in_place ? MPI_IN_PLACE : work->in.data, count, type,
                                      work->out.data, count, type, mpi->comm)));
        *done = true;
    } else {
        TRI_TRY(tri_coll_mpi.progress(work, done));
    }
    return TRI_OK;
}

static tri_status native_split(tri_comm *parent, int color, int key, tri_comm **out)
{
    TRI_TRY(tri_coll_mpi.split(parent, color, key, out));
    return TRI_OK;
}

static void native_close(tri_comm *comm)
{
    tri_coll_mpi.close(comm);
}

const tri_coll_ops tri_coll_mpi_native = {
    .name = "mpi-native",
    .doc = "MPI's own reductions, for comparison",
    .progress = native_progress,
    .split = native_split,
    .close = native_close,
};
