// SPDX-License-Identifier: Apache-2.0
/* Counts what a program sends through MPI, by call and by size of the communicator: preloaded into a job
 * whose communicators are on backend mpi (TRIREME_COLL=mpi), it knows nothing of the job. A transfer is
 * counted as it is; a call of MPI's own collectives by the volume that its ring algorithm sends.
 *
 * At MPI_Finalize each rank writes TRIREME_COUNT.RANK: one JSON object a line.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROWS = 256, PATH_BYTES = 4096 };

typedef struct count_row {
    const char *call;
    int ranks;
    long long calls, bytes;
} count_row;

/* MPI is called by one thread at a time (MPI_THREAD_SERIALIZED). */
static count_row rows[MAX_ROWS];
static int n_rows;

static long long bytes_of(int count, MPI_Datatype type)
{
    MPI_Count size = 0;
    PMPI_Type_size_x(type, &size);
    return (long long)count * (long long)size;
}

static int size_of(MPI_Comm comm)
{
    int size = 0;
    PMPI_Comm_size(comm, &size);
    return size;
}

static void add(const char *call, MPI_Comm comm, long long bytes)
{
    int ranks = size_of(comm), i = 0;
    while (i < n_rows && (rows[i].ranks != ranks || strcmp(rows[i].call, call) != 0))
        i++;
    if (i == MAX_ROWS) {
        fprintf(stderr, "count_mpi: more than %d kinds of calls\n", MAX_ROWS);
        return;
    }
    if (i == n_rows) rows[n_rows++] = (count_row){.call = call, .ranks = ranks};
    rows[i].calls++;
    rows[i].bytes += bytes;
}

int MPI_Isend(const void *data, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm,
              MPI_Request *request)
{
    add("Isend", comm, bytes_of(count, type));
    return PMPI_Isend(data, count, type, to, tag, comm, request);
}

int MPI_Iallgather(const void *in, int in_count, MPI_Datatype in_type, void *out, int out_count,
                   MPI_Datatype out_type, MPI_Comm comm, MPI_Request *request)
{
    add("Iallgather", comm, (size_of(comm) - 1) * bytes_of(out_count, out_type));
    return PMPI_Iallgather(in, in_count, in_type, out, out_count, out_type, comm, request);
}

int MPI_Ialltoall(const void *in, int in_count, MPI_Datatype in_type, void *out, int out_count,
                  MPI_Datatype out_type, MPI_Comm comm, MPI_Request *request)
{
    add("Ialltoall", comm, (size_of(comm) - 1) * bytes_of(out_count, out_type));
    return PMPI_Ialltoall(in, in_count, in_type, out, out_count, out_type, comm, request);
}

int MPI_Ibcast(void *data, int count, MPI_Datatype type, int root, MPI_Comm comm,
               MPI_Request *request)
{
    int rank = 0;
    PMPI_Comm_rank(comm, &rank);
    add("Ibcast", comm, rank == root ? (size_of(comm) - 1) * bytes_of(count, type) : 0);
    return PMPI_Ibcast(data, count, type, root, comm, request);
}

int MPI_Ibarrier(MPI_Comm comm, MPI_Request *request)
{
    add("Ibarrier", comm, 0);
    return PMPI_Ibarrier(comm, request);
}

/* Calls of set-up, which have no place in a step. */
int MPI_Allgather(const void *in, int in_count, MPI_Datatype in_type, void *out, int out_count,
                  MPI_Datatype out_type, MPI_Comm comm)
{
    add("Allgather", comm, (size_of(comm) - 1) * bytes_of(out_count, out_type));
    return PMPI_Allgather(in, in_count, in_type, out, out_count, out_type, comm);
}

int MPI_Allreduce(const void *in, void *out, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm)
{
    add("Allreduce", comm, 2 * (size_of(comm) - 1) * bytes_of(count, type) / size_of(comm));
    return PMPI_Allreduce(in, out, count, type, op, comm);
}

int MPI_Finalize(void)
{
    const char *prefix = getenv("TRIREME_COUNT");
    char path[PATH_BYTES];
    int rank = 0;
    PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
    snprintf(path, sizeof path, "%s.%d", prefix ? prefix : "count_mpi", rank);
    FILE *file = fopen(path, "w");
    for (int i = 0; file && i < n_rows; i++)
        fprintf(file, "{\"call\": \"%s\", \"ranks\": %d, \"calls\": %lld, \"bytes\": %lld}\n",
                rows[i].call, rows[i].ranks, rows[i].calls, rows[i].bytes);
    if (!file || fclose(file) != 0) fprintf(stderr, "count_mpi: %s cannot be written\n", path);
    return PMPI_Finalize();
}
