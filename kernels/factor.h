// SPDX-License-Identifier: Apache-2.0
/* Matrices whose second moments are kept by rows and columns (Adafactor, arXiv:1804.04235): sums of
 * squares of rows and columns, and steps gradient * row factor * column factor.
 */
#ifndef TRI_KERNELS_FACTOR_H
#define TRI_KERNELS_FACTOR_H

#include "kernels/update.h"

/* Parts of a matrix whose sums are made apart: the order of sums does not depend on threads. */
enum { TRI_FACTOR_PARTS = 8 };

/* A block of `rows` lines of `columns` elements, which lie in range one after another. */
typedef struct tri_factor_args {
    tri_update_range range; /* n = rows * columns */
    int64_t rows, columns;
    const float *row_factor;    /* [rows]; NULL: 1 */
    const float *column_factor; /* [columns]; NULL: 1 */
    float rate, decay;          /* of a step */
} tri_factor_args;

/* row_sums[i] += sum of squares of the scaled gradient in row i, column_sums[j] += that of column j; NULL: not
 * wanted. scratch: [TRI_FACTOR_PARTS * columns], where columns are wanted. Not collective.
 * Cost: reads 4 n bytes. */
TRI_MUST_USE tri_status tri_factor_squares(tri_kernels *kernels, const tri_factor_args *args,
                                           double *row_sums, double *column_sums, double *scratch);

/* *sum += sum of squares of u = gradient * row factor * column factor. Not collective. */
TRI_MUST_USE tri_status tri_factor_measure(tri_kernels *kernels, const tri_factor_args *args,
                                           double *sum);

/* w -= decay w + rate u. Not collective. Cost: reads 8 n bytes, writes 4 n (+ 2 n). */
TRI_MUST_USE tri_status tri_factor_step(tri_kernels *kernels, const tri_factor_args *args);

#endif
