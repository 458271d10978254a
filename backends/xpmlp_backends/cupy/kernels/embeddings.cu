// Embeddings of inputs. A thread adds in the order of the rows, so the bits do not depend on others.

// out[i] = a[i] b[i] with a (m, rows, inner), b (m, inner, columns); out has n numbers.
template <typename T>
__global__ void batch_product(const T* a, const T* b, T* out, int rows, int inner, int columns,
                              long long n) {
    for (long long at = first(); at < n; at += all()) {
        long long row = at / columns, column = at % columns, i = row / rows;
        const T *left = a + row * inner, *right = b + i * inner * columns + column;
        T sum = 0;
        for (int k = 0; k < inner; k++) sum += left[k] * right[(long long)k * columns];
        out[at] = sum;
    }
}

// out[code] = the sum of the rows of dy with this code; out has n numbers.
template <typename T>
__global__ void sum_by_code(const T* dy, const int* codes, T* out, int rows, int columns,
                            long long n) {
    for (long long at = first(); at < n; at += all()) {
        int code = int(at / columns), column = int(at % columns);
        T sum = 0;
        for (int i = 0; i < rows; i++)
            if (codes[i] == code) sum += dy[(long long)i * columns + column];
        out[at] = sum;
    }
}
