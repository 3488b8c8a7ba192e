// SPDX-License-Identifier: Apache-2.0
/* What a fuzzer does without libFuzzer (gcc, or -DTRI_REPLAY): run the files named on the command line.
 */
#ifndef TRI_TESTS_FUZZ_REPLAY_H
#define TRI_TESTS_FUZZ_REPLAY_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#if !defined(__clang__) || defined(TRI_REPLAY)
int main(int argc, char **argv)
{
    static uint8_t input[1 << 20];
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (!file) {
            perror(argv[i]);
            return 1;
        }
        size_t bytes = fread(input, 1, sizeof input, file);
        fclose(file);
        LLVMFuzzerTestOneInput(input, bytes);
    }
    return 0;
}
#endif

#endif
