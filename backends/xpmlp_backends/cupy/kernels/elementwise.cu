// Element by element: activations and their slopes, the batch, dropout, bfloat16. Where `half` is
// not null, a kernel also writes its result rounded to bfloat16, for the products that take it.

// h = f(z); z and h may be the same array.
template <typename T> __global__ void activate(int which, const T* z, T* h, long long n) {
    for (long long i = first(); i < n; i += all()) h[i] = activation(which, z[i]);
}

// Element i of xpmlp.nn.random.dropout_mask; unsigned arithmetic has the same bits as int32's.
template <typename T>
__device__ T mask(const int* key, int threshold, T kept, long long i) {
    unsigned x = (unsigned)i * 0x9E3779B9u + (unsigned)key[0];
    x = (x ^ (x >> 16)) * 0x7FEB352Du + (unsigned)key[1];
    x = (x ^ (x >> 15)) * 0x846CA68Bu;
    x = x ^ (x >> 16);
    return (int)x >= threshold ? kept : T(0);
}

// A scheduled rate: the step's key has the threshold, and `kept` is 0 until here.
template <typename T> __device__ void scheduled(const int* key, int& threshold, T& kept) {
    if (key && kept == T(0)) {
        threshold = key[2];
        kept = T(4294967296.0) / (T(2147483648.0) - T(threshold));
    }
}

// y = x mask; x and y may be the same array.
template <typename T>
__global__ void dropout(const int* key, int threshold, T kept, const T* x, T* y,
                        unsigned short* half, long long n) {
    scheduled(key, threshold, kept);
    for (long long i = first(); i < n; i += all()) {
        y[i] = x[i] * mask(key, threshold, kept, i);
        if (half) half[i] = bfloat16(y[i]);
    }
}

// dz = dh f'(z), or dh mask f'(z) where `key` is not null; dh and dz may be the same array.
template <typename T>
__global__ void slope(int which, const T* z, const T* h, const T* dh, const int* key,
                      int threshold, T kept, T* dz, unsigned short* half, long long n) {
    scheduled(key, threshold, kept);
    for (long long i = first(); i < n; i += all()) {
        T dy = key ? dh[i] * mask(key, threshold, kept, i) : dh[i];
        dz[i] = dy * derivative(which, z[i], h[i]);
        if (half) half[i] = bfloat16(dz[i]);
    }
}

// Copy a row of so many words of 4 bytes, by one block.
__device__ inline void move_words(const void* from, long long row, void* to, long long to_row,
                                  int words) {
    for (int j = threadIdx.x; j < words; j += blockDim.x)
        ((unsigned*)to)[to_row * words + j] = ((const unsigned*)from)[row * words + j];
}

// x = (X[rows] - shift) scale, y[rows] and weight[rows]; a block per row. Where `table` is not
// null it holds the addresses of X, y and weight, so that a captured graph can be used for other
// data: X, y and weight themselves are then ignored. y and weight are moved as words of 4 bytes.
template <typename T, typename S>
__global__ void gather(const void* const* table, const void* X, const void* y, const void* weight,
                       const int* rows, const T* shift, int shift_step, const T* scale,
                       int scale_step, int columns, int y_words, int weight_words, T* x_out,
                       unsigned short* half, void* y_out, void* weight_out) {
    if (table) { X = table[0]; y = table[1]; weight = table[2]; }
    long long to = blockIdx.x, from = rows[to];
    const S* source = (const S*)X + from * columns;
    T* target = x_out + to * columns;
    for (int j = threadIdx.x; j < columns; j += blockDim.x) {
        T value = T(source[j]);
        if (shift) value -= shift[j * shift_step];
        if (scale) value *= scale[j * scale_step];
        target[j] = value;
        if (half) half[to * columns + j] = bfloat16(value);
    }
    move_words(y, from, y_out, to, y_words);
    move_words(weight, from, weight_out, to, weight_words);
}

// Write three addresses to a table of `gather`.
__global__ void point(const void** table, const void* X, const void* y, const void* weight) {
    table[0] = X; table[1] = y; table[2] = weight;
}

// Float to bfloat16: see `bfloat16`.
__global__ void to_bfloat16(const float* x, unsigned short* out, long long n) {
    for (long long i = first(); i < n; i += all()) out[i] = bfloat16(x[i]);
}
