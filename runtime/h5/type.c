// SPDX-License-Identifier: Apache-2.0
/* Types of the HDF5 door. Files are little-endian, as is every machine this is built for: the bytes of a
 * tensor are the bytes in the file.
 */
#include "runtime/h5/type.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "raw bytes in files are little-endian");

/* bfloat16 or half as an HDF5 floating type of 16 bits; the caller closes it. */
static hid_t type_16(int exponent_bits)
{
    int mantissa_bits = 15 - exponent_bits;
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    if (type < 0) return type;
    size_t e = (size_t)exponent_bits;
    size_t m = (size_t)mantissa_bits;
    size_t bias = ((size_t)1 << (e - 1)) - 1;
    bool ok = H5Tset_fields(type, 15, m, e, 0, m) >= 0 && H5Tset_size(type, 2) >= 0 &&
              H5Tset_ebias(type, bias) >= 0;
    if (ok) return type;
    H5Tclose(type);
    return -1;
}

hid_t tri_h5_type_make(tri_dtype dtype)
{
    const hid_t plain[TRI_DTYPES] = {
        [TRI_F32] = H5T_IEEE_F32LE, [TRI_F64] = H5T_IEEE_F64LE, [TRI_U8] = H5T_STD_U8LE,
        [TRI_U16] = H5T_STD_U16LE,  [TRI_I32] = H5T_STD_I32LE,  [TRI_I64] = H5T_STD_I64LE,
        [TRI_U64] = H5T_STD_U64LE,
    };
    if (dtype == TRI_BF16) return type_16(8);
    if (dtype == TRI_F16) return type_16(5);
    return H5Tcopy(plain[dtype]);
}

hid_t tri_h5_type_text(size_t width)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type < 0) return type;
    bool ok = H5Tset_size(type, width) >= 0 && H5Tset_strpad(type, H5T_STR_NULLPAD) >= 0 &&
              H5Tset_cset(type, H5T_CSET_UTF8) >= 0;
    if (ok) return type;
    H5Tclose(type);
    return -1;
}

herr_t tri_h5_type_fill(hid_t properties, tri_dtype dtype, hid_t type)
{
    static const union {
        uint32_t f32;
        uint16_t u16;
        uint64_t u64;
        int32_t i32;
        int64_t i64;
    } fill[TRI_DTYPES] = {
        [TRI_F32] = {.f32 = 0x7fc00000u}, [TRI_BF16] = {.u16 = 0x7fc0u},
        [TRI_F16] = {.u16 = 0x7e00u},     [TRI_F64] = {.u64 = 0x7ff8000000000000u},
        [TRI_I32] = {.i32 = INT32_MIN},   [TRI_I64] = {.i64 = INT64_MIN},
    };
    return H5Pset_fill_value(properties, type, &fill[dtype]);
}
