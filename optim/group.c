// SPDX-License-Identifier: Apache-2.0
/* Reading the entries of optimizer.groups. */
#include "optim/group.h"

#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tri_status read_number(const char *text, const char *word, const char *value, double *out)
{
    char *end = NULL;
    errno = 0;
    double number = value ? strtod(value, &end) : -1;
    TRI_CHECK(value && end != value && !*end && errno == 0 && isfinite(number) && number >= 0,
              TRI_EINVAL, "optimizer.groups: '%s': '%s' takes a number >= 0, not '%s'", text, word,
              value ? value : "");
    *out = number;
    return TRI_OK;
}

static tri_status read_word(const char *text, const char *word, const char *value,
                            tri_optim_group *group)
{
    if (strcmp(word, "lr") == 0) return read_number(text, word, value, &group->lr);
    if (strcmp(word, "decay") == 0) return read_number(text, word, value, &group->weight_decay);
    TRI_CHECK(
        strcmp(word, "adapt") == 0, TRI_EINVAL,
        "optimizer.groups: '%s': unknown word '%s'; known: lr FACTOR, decay NUMBER, adapt off",
        text, word);
    TRI_CHECK(value && strcmp(value, "off") == 0, TRI_EINVAL,
              "optimizer.groups: '%s': 'adapt' takes off, not '%s'", text, value ? value : "");
    group->adapts = false;
    return TRI_OK;
}

tri_status tri_optim_group_parse(const char *text, tri_optim_group *out)
{
    char words[TRI_OPTIM_GROUP_BYTES];
    tri_optim_group group = {.lr = 1, .weight_decay = -1, .adapts = true};
    snprintf(words, sizeof words, "%s", text);
    char *rest = NULL;
    const char *word = strtok_r(words, " ", &rest);
    TRI_CHECK(word, TRI_EINVAL, "optimizer.groups: an entry is empty; it begins with a pattern");
    snprintf(group.match, sizeof group.match, "%s", word);
    word = strtok_r(NULL, " ", &rest);
    TRI_CHECK(word, TRI_EINVAL,
              "optimizer.groups: '%s' says nothing of these parameters; known: lr FACTOR, decay "
              "NUMBER, adapt off",
              text);
    for (; word; word = strtok_r(NULL, " ", &rest))
        TRI_TRY(read_word(text, word, strtok_r(NULL, " ", &rest), &group));
    *out = group;
    return TRI_OK;
}

bool tri_optim_group_matches(const tri_optim_group *group, const char *name)
{
    const char *plain = strncmp(name, "param/", 6) == 0 ? name + 6 : name;
    return fnmatch(group->match, plain, 0) == 0;
}
