// SPDX-License-Identifier: Apache-2.0
/* Library versions are those of the build (CMakeLists.txt hands them in); what depends on the machine
 * is asked of the module that uses it.
 */
#include "launch/version.h"

#include "kernels/kernels.h"
#include "optim/optim.h"
#include "parallel/model.h"

static void print_names(FILE *stream, const char *title, const char *const *names)
{
    fprintf(stream, "%-12s", title);
    for (int i = 0; names[i]; i++)
        fprintf(stream, "%s%s", i ? ", " : "", names[i]);
    fprintf(stream, "\n");
}

void tri_version_print(FILE *stream)
{
    fprintf(stream, "trireme %s\n", TRI_VERSION);
#ifdef __VERSION__
    fprintf(stream, "%-12s%s\n", "compiler", __VERSION__);
#endif
    fprintf(stream, "%-12s%s\n", "libraries", TRI_LIBRARIES);
    fprintf(stream, "%-12scpu; instruction sets that run here: ", "devices");
    for (int i = 0; tri_kernels_isas()[i]; i++)
        fprintf(stream, "%s%s", i ? ", " : "", tri_kernels_isas()[i]);
    fprintf(stream, "; bf16 in hardware: %s\n", tri_kernels_has_bf16() ? "yes" : "no");
    fprintf(stream, "%-12sself, thread, node, mpi\n", "collectives");
    print_names(stream, "models", tri_model_families());
    print_names(stream, "optimizers", tri_optim_names());
    fprintf(stream, "%-12stext, uint16, llmc, megatron, hdf5\n", "data");
}
