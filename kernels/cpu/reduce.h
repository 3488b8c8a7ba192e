// SPDX-License-Identifier: Apache-2.0
/* How sums over rows are cut: a grid of blocks of rows (parts) and panels of columns that depends
 * on the matrix alone. Each cell is one thread's; parts are added in order afterwards.
 */
#ifndef TRI_KERNELS_CPU_REDUCE_H
#define TRI_KERNELS_CPU_REDUCE_H

#include "kernels/cpu/simd.h"

enum { TRI_REDUCE_PARTS = 16 };

typedef struct tri_reduce_grid {
    int64_t rows, width;
    int64_t parts, panels;
} tri_reduce_grid;

/* The grid of a matrix. Not collective. */
tri_reduce_grid tri_reduce_grid_make(int64_t rows, int64_t width);

/* Cell `cell` of parts * panels. Not collective. */
tri_simd_panel tri_reduce_panel(const tri_reduce_grid *grid, int64_t cell);

/* Elements of a cell, about. Not collective. */
int64_t tri_reduce_cell_elements(const tri_reduce_grid *grid);

#endif
