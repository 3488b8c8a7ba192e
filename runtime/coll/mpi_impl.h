// SPDX-License-Identifier: Apache-2.0
/* What the files that call MPI have in common; private to runtime/coll/mpi*.c, which no other file
 * includes. */
#ifndef TRI_RUNTIME_COLL_MPI_IMPL_H
#define TRI_RUNTIME_COLL_MPI_IMPL_H

#include "runtime/coll/coll_impl.h"

#include <mpi.h>

/* State of a communicator of backends mpi and mpi-native. */
typedef struct mpi_state {
    MPI_Comm comm;
    bool is_world; /* closing it ends MPI */
    bool is_plain; /* MPI whatever hosts the ranks are on, and after splits, too */
    int host;      /* number of this rank's host: of a world rank there, or what a test says */
    MPI_Request *requests; /* of the collective under way, [2 * size] */
    int n_requests;
    MPI_Request send, recv;
    char *scratch; /* of reductions */
    size_t scratch_bytes;
    const void **sources; /* [size] */
} mpi_state;

extern const tri_coll_ops tri_coll_mpi_native;

/* A failure of an MPI call as a status, with MPI's text. Not collective. */
TRI_MUST_USE tri_status tri_mpi_check(int code, const char *call);

/* TRI_TRY(TRI_MPI(MPI_Call(...))) */
#define TRI_MPI(call) tri_mpi_check((call), #call)

#endif
