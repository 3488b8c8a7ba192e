# SPDX-License-Identifier: Apache-2.0
# kernels/cpu/simd_*.c are compiled once per instruction set, each time with its flags and with
# TRI_ISA, the suffix of the tables they define; kernels/cpu/list.c lists the tables.
file(GLOB TRI_SIMD_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cpu/simd_*.c)
set(TRI_SIMD_OBJECTS "")

function(tri_add_isa isa)
    add_library(tri_simd_${isa} OBJECT ${TRI_SIMD_SOURCES})
    target_link_libraries(tri_simd_${isa} PRIVATE tri_flags)
    target_compile_definitions(tri_simd_${isa} PRIVATE TRI_ISA=${isa})
    target_compile_options(tri_simd_${isa} PRIVATE -O3 -Wno-psabi ${ARGN})
    set(TRI_SIMD_OBJECTS ${TRI_SIMD_OBJECTS} $<TARGET_OBJECTS:tri_simd_${isa}> PARENT_SCOPE)
endfunction()

tri_add_isa(base)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    tri_add_isa(avx2 -mavx2 -mfma)
    set(TRI_AVX512_FLAGS -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma
        -mprefer-vector-width=512)
    tri_add_isa(avx512 ${TRI_AVX512_FLAGS})
    tri_add_isa(avx512_bf16 ${TRI_AVX512_FLAGS} -mavx512bf16)
endif()

# Deviates must not depend on how a compiler contracts products and sums.
set_source_files_properties(${PROJECT_SOURCE_DIR}/runtime/base/rng.c PROPERTIES
    COMPILE_OPTIONS "-O3;-ffp-contract=off")
# Nor what is sent to other ranks.
set_source_files_properties(${PROJECT_SOURCE_DIR}/kernels/cpu/simd_quantize.c PROPERTIES
    COMPILE_OPTIONS "-ffp-contract=off")
