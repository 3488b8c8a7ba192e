// SPDX-License-Identifier: Apache-2.0
/* From a flat segment of a matrix to blocks of whole lines and parts of lines. */
#include "kernels/factor.h"

#include "optim/optim_impl.h"

/* A block of the segment: where it begins in the segment, and its box in the tensor. */
static tri_factor_args block_of(const tri_optim_tensor *tensor, const tri_piece_box *piece)
{
    const tri_optim_segment *s = tensor->segment;
    tri_factor_args args = {.rows = piece->box.count[0], .columns = piece->box.count[1]};
    args.range = (tri_update_range){.n = args.rows * args.columns,
                                    .weight = s->weight + piece->offset,
                                    .gradient = s->gradient + piece->offset,
                                    .gradient_scale = (float)tensor->gradient_scale,
                                    .copy_type = TRI_BF16,
                                    .far = tensor->far};
    if (s->copy) args.range.copy = (tri_bf16 *)s->copy + piece->offset;
    return args;
}

tri_status tri_optim_factor_squares(const tri_optim_tensor *tensor, double *row_sums,
                                    double *column_sums)
{
    tri_piece_box pieces[TRI_MAX_BOXES];
    int n = 0;
    tri_box_cut(&tensor->box, tensor->segment->begin, tensor->segment->count, pieces, &n);
    for (int i = 0; i < n; i++) {
        tri_factor_args args = block_of(tensor, &pieces[i]);
        double *rows = row_sums ? row_sums + pieces[i].box.start[0] : NULL;
        double *columns = column_sums ? column_sums + pieces[i].box.start[1] : NULL;
        TRI_TRY(tri_factor_squares(tensor->kernels, &args, rows, columns, tensor->scratch));
    }
    return TRI_OK;
}

tri_status tri_optim_factor_step(const tri_optim_tensor *tensor, const tri_optim_factor *factor)
{
    tri_piece_box pieces[TRI_MAX_BOXES];
    int n = 0;
    tri_box_cut(&tensor->box, tensor->segment->begin, tensor->segment->count, pieces, &n);
    for (int i = 0; i < n; i++) {
        tri_factor_args args = block_of(tensor, &pieces[i]);
        if (factor->row)
            args.row_factor = factor->row + pieces[i].box.start[0] - tensor->box.start[0];
        if (factor->column)
            args.column_factor = factor->column + pieces[i].box.start[1] - tensor->box.start[1];
        args.rate = (float)factor->rate;
        args.decay = (float)factor->decay;
        if (factor->sum)
            TRI_TRY(tri_factor_measure(tensor->kernels, &args, factor->sum));
        else
            TRI_TRY(tri_factor_step(tensor->kernels, &args));
    }
    return TRI_OK;
}
