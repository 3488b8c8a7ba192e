// SPDX-License-Identifier: Apache-2.0
/* Every rank has all tokens of its heads (exchange.c brought them, or the axis has one rank): the
 * kernel as it is. The smallest mode: no messages inside, no buffers.
 */
#include "parallel/context/context_impl.h"

static tri_status ulysses_forward(tri_context *context, const tri_attention_args *args)
{
    return tri_attention_forward(context->args.kernels, args);
}

static tri_status ulysses_backward(tri_context *context, const tri_attention_args *args)
{
    return tri_attention_backward(context->args.kernels, args);
}

static void ulysses_kernel_heads(const tri_context *context, int64_t *heads, int64_t *kv_heads)
{
    *heads = context->heads;
    *kv_heads = context->kv_heads;
}

const tri_context_ops tri_context_ulysses = {
    .name = "ulysses",
    .doc = "all-to-all from tokens to heads and back",
    .forward = ulysses_forward,
    .backward = ulysses_backward,
    .kernel_heads = ulysses_kernel_heads,
};
