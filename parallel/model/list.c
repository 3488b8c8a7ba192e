// SPDX-License-Identifier: Apache-2.0
/* The list of model families. */
#include "parallel/model/families.h"

#include <string.h>

#define FAMILY_MAP(X) X(gpt2) X(llama)

static const tri_model_family *const families[] = {
#define X(name) &tri_model_##name,
    FAMILY_MAP(X)
#undef X
};

enum { N_FAMILIES = sizeof families / sizeof families[0] };

const char *const *tri_model_families(void)
{
    static const char *const names[N_FAMILIES + 1] = {
#define X(name) #name,
        FAMILY_MAP(X)
#undef X
    };
    return names;
}

const tri_model_family *tri_model_family_find(const char *name)
{
    for (int i = 0; i < N_FAMILIES; i++)
        if (strcmp(families[i]->name, name) == 0) return families[i];
    return NULL;
}
