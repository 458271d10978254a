// The GPU's operations other than matrix products, for CuPy: see _kernels.py, which launches them.
//
// Each kernel is what the Python function of the same name in xpmlp computes; the formulas are
// derived there and not explained again. T is float or double. Matrices are row by row without
// gaps. Nothing here depends on the order in which blocks run, so the same input gives the same
// bits. NaN comes out where it went in: fmax and fmin would lose it, so comparisons are written
// out. No kernel takes a number from the host that changes from step to step, because a captured
// CUDA graph would keep the first: rates come by pointer.

enum Activation {
    IDENTITY, SIGN, BINARY_STEP, SIGMOID, TANH, RELU, LEAKY_RELU, ELU, GELU, GELU_TANH, SOFTPLUS,
    SWISH, MISH, EXP, ERF
};
enum Loss { MSE, MAE, HUBER, QUANTILE, POISSON, BINARY, CATEGORICAL, LABELS };
enum Metric { NO_METRIC, IS_LABEL, AGREES, SIDES, SQUARED_ERROR, SQUARED_ERROR_OF_RATE };

const int WARP = 32;
const unsigned ALL = 0xffffffffu;

// This thread's number among all, and how many there are: the usual loop over elements is
// for (long long i = first(); i < n; i += all()).
__device__ inline long long first() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline long long all() { return (long long)gridDim.x * blockDim.x; }

template <typename T> __device__ T hold(T z, T bound) {
    return z > bound ? bound : z < -bound ? -bound : z;
}
template <typename T> __device__ T magnitude(T z) { return z < 0 ? -z : z; }
template <typename T> __device__ T positive(T z) { return z > 0 || z != z ? z : T(0); }
template <typename T> __device__ T sign(T z) { return z != z ? z : T((z > 0) - (z < 0)); }

template <typename T> __device__ T sigmoid(T z) {
    T e = exp(-magnitude(z));
    return z >= 0 ? 1 / (1 + e) : e / (1 + e);
}
template <typename T> __device__ T softplus(T z) {
    return positive(z) + log1p(exp(-magnitude(z)));
}
template <typename T> __device__ T normal_cdf(T z) {
    return T(0.5) * (1 + erf(z * T(0.70710678118654752440)));
}
template <typename T> __device__ T normal_pdf(T z) {
    z = hold(z, T(40));
    return exp(T(-0.5) * z * z) * T(0.39894228040143267794);
}

// sqrt(2/pi), of GELU's tanh form, and the bound beyond which that form is 0 or z.
#define ROOT T(0.79788456080286535588)
#define CUBE T(0.044715)
#define FLAT T(20)
#define LEAK T(0.01)

template <typename T> __device__ T activation(int which, T z) {
    switch (which) {
    case SIGN: return sign(z);
    case BINARY_STEP: return T(z > 0);
    case SIGMOID: return sigmoid(z);
    case TANH: return tanh(z);
    case RELU: return positive(z);
    case LEAKY_RELU: return z > 0 ? z : LEAK * z;
    case ELU: return z > 0 ? z : expm1(z);
    case GELU: return z * normal_cdf(z);
    case GELU_TANH: {
        T held = hold(z, FLAT);
        return T(0.5) * z * (1 + tanh(ROOT * (held + CUBE * held * held * held)));
    }
    case SOFTPLUS: return softplus(z);
    case SWISH: return z * sigmoid(z);
    case MISH: return z * tanh(softplus(z));
    case EXP: return exp(z);
    case ERF: return erf(z);
    default: return z;
    }
}

template <typename T> __device__ T derivative(int which, T z, T h) {
    switch (which) {
    case SIGN: case BINARY_STEP: return T(0);
    case SIGMOID: return h * (1 - h);
    case TANH: return 1 - h * h;
    case RELU: return T(z > 0);
    case LEAKY_RELU: return LEAK + (1 - LEAK) * T(z > 0);
    case ELU: return z > 0 ? T(1) : h + 1;
    case GELU: return normal_cdf(z) + hold(z, T(40)) * normal_pdf(z);
    case GELU_TANH: {
        z = hold(z, FLAT);
        T t = tanh(ROOT * (z + CUBE * z * z * z));
        return T(0.5) * (1 + t) + T(0.5) * z * (1 - t * t) * ROOT * (1 + 3 * CUBE * z * z);
    }
    case SOFTPLUS: return sigmoid(z);
    case SWISH: { T s = sigmoid(z); return s + h * (1 - s); }
    case MISH: { T t = tanh(softplus(z)); return t + z * sigmoid(z) * (1 - t * t); }
    case EXP: return h;
    default: return T(1);
    }
}

// h = f(z); z and h may be the same array.
template <typename T> __global__ void activate(int which, const T* z, T* h, long long n) {
    for (long long i = first(); i < n; i += all()) h[i] = activation(which, z[i]);
}

// dz = dh f'(z); dh and dz may be the same array.
template <typename T>
__global__ void slope(int which, const T* z, const T* h, const T* dh, T* dz, long long n) {
    for (long long i = first(); i < n; i += all())
        dz[i] = dh[i] * derivative(which, z[i], h[i]);
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
                       void* y_out, void* weight_out) {
    if (table) { X = table[0]; y = table[1]; weight = table[2]; }
    long long to = blockIdx.x, from = rows[to];
    const S* source = (const S*)X + from * columns;
    T* target = x_out + to * columns;
    for (int j = threadIdx.x; j < columns; j += blockDim.x) {
        T value = T(source[j]);
        if (shift) value -= shift[j * shift_step];
        if (scale) value *= scale[j * scale_step];
        target[j] = value;
    }
    move_words(y, from, y_out, to, y_words);
    move_words(weight, from, weight_out, to, weight_words);
}

// Write three addresses to a table of `gather`.
__global__ void point(const void** table, const void* X, const void* y, const void* weight) {
    table[0] = X; table[1] = y; table[2] = weight;
}

// The hash of xpmlp.random.dropout_mask; unsigned arithmetic has the same bits as int32's.
template <typename T>
__global__ void dropout(const int* key, int threshold, T kept, T* mask, long long n) {
    unsigned k0 = (unsigned)key[0], k1 = (unsigned)key[1];
    for (long long i = first(); i < n; i += all()) {
        unsigned x = (unsigned)i * 0x9E3779B9u + k0;
        x = (x ^ (x >> 16)) * 0x7FEB352Du + k1;
        x = (x ^ (x >> 15)) * 0x846CA68Bu;
        x = x ^ (x >> 16);
        mask[i] = (int)x >= threshold ? kept : T(0);
    }
}

// Float to bfloat16, to the nearest, of two equally near ones to the even; NaN stays NaN.
__global__ void to_bfloat16(const float* x, unsigned short* out, long long n) {
    for (long long i = first(); i < n; i += all()) {
        unsigned bits = __float_as_uint(x[i]);
        bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
        bits += 0x7fffu + ((bits >> 16) & 1u);
        out[i] = nan ? 0x7fc0 : (unsigned short)(bits >> 16);
    }
}

// Sums over a block; the result is valid in thread 0. blockDim.x is a power of two up to 256.
template <typename T> __device__ T block_sum(T x) {
    __shared__ T part[256];
    part[threadIdx.x] = x;
    __syncthreads();
    for (int half = blockDim.x / 2; half; half /= 2) {
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
        __syncthreads();
    }
    T sum = part[0];
    __syncthreads();  // before the next sum writes
    return sum;
}

// Sums of columns: blocks of 32 columns by 8 rows. blockIdx.y takes its share of the rows and
// writes row blockIdx.y of `sums`; several such rows are then summed by a second launch.
template <typename T> __global__ void column_sums(const T* x, T* sums, int rows, int columns) {
    __shared__ T part[8][WARP];
    int column = blockIdx.x * WARP + threadIdx.x;
    int share = (rows + gridDim.y - 1) / gridDim.y;
    int begin = blockIdx.y * share, end = min(rows, begin + share);
    T sum = 0;
    if (column < columns)
        for (int i = begin + threadIdx.y; i < end; i += 8) sum += x[(long long)i * columns + column];
    part[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int k = 1; k < 8; k++) sum += part[k][threadIdx.x];
        sums[(long long)blockIdx.y * columns + column] = sum;
    }
}

// Sum of the weights, at least `tiny`; one block.
template <typename T> __global__ void total_weight(const T* weight, int n, T tiny, T* total) {
    T sum = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += weight[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *total = sum > tiny || sum != sum ? sum : tiny;
}

template <typename T> __device__ T warp_sum(T x) {
    for (int lane = WARP / 2; lane; lane /= 2) x += __shfl_xor_sync(ALL, x, lane);
    return x;
}
template <typename T> __device__ T warp_max(T x) {
    for (int lane = WARP / 2; lane; lane /= 2) {
        T other = __shfl_xor_sync(ALL, x, lane);
        x = other > x ? other : x;
    }
    return x;
}

// The first place of a row's largest element, known to the whole warp.
template <typename T> __device__ int warp_argmax(const T* x, int columns) {
    int lane = threadIdx.x % WARP, place = columns;
    T best = 0;
    for (int j = lane; j < columns; j += WARP)
        if (place == columns || x[j] > best) { best = x[j]; place = j; }
    for (int half = WARP / 2; half; half /= 2) {
        T other = __shfl_xor_sync(ALL, best, half);
        int there = __shfl_xor_sync(ALL, place, half);
        bool better = other > best || (other == best && there < place);
        if (there != columns && (place == columns || better)) { best = other; place = there; }
    }
    return place;
}

// One element's share of a row's loss, and its derivative, for losses without a softmax.
template <typename T> __device__ T element_loss(int loss, T z, T y, T setting, T* dz) {
    T e = z - y;
    switch (loss) {
    case MAE: *dz = sign(e); return magnitude(e);
    case HUBER: { T g = hold(e, setting); *dz = g; return g * (e - T(0.5) * g); }
    case QUANTILE: {
        T below = T(e > 0);
        *dz = (below - setting) * magnitude(sign(e));
        return e * (below - setting);
    }
    case POISSON: {
        T bound = sizeof(T) == 8 ? T(700) : T(80), rate = exp(z > bound ? bound : z);
        *dz = rate - y;
        return rate - y * z;
    }
    case BINARY: {
        T t = setting == 0 ? y : y * (1 - setting) + setting / 2;
        *dz = sigmoid(z) - t;
        return softplus(z) - z * t;
    }
    default: *dz = e; return T(0.5) * e * e;
    }
}

// A row's cross-entropy with softmax, by one warp; `label` is -1 where `y` is a distribution.
template <typename T>
__device__ T softmax_loss(const T* z, const T* y, int label, int columns, T smoothing, T bound,
                          T share, T* dz) {
    int lane = threadIdx.x % WARP;
    T largest = -bound, sum = 0, value = 0;
    for (int j = lane; j < columns; j += WARP) {
        T held = hold(z[j], bound);
        largest = held > largest ? held : largest;
    }
    largest = warp_max(largest);
    for (int j = lane; j < columns; j += WARP) sum += exp(hold(z[j], bound) - largest);
    T log_sum = log(warp_sum(sum));
    for (int j = lane; j < columns; j += WARP) {
        T log_p = hold(z[j], bound) - largest - log_sum;
        T t = label < 0 ? y[j] : T(j == label);
        if (smoothing != 0) t = t * (1 - smoothing) + smoothing / columns;
        value -= t * log_p;
        dz[j] = (exp(log_p) - t) * share;
    }
    return warp_sum(value);
}

// A row's metric, by one warp.
template <typename T>
__device__ T row_metric(int metric, const T* z, const T* y, int label, int columns, T threshold) {
    int lane = threadIdx.x % WARP;
    if (metric == IS_LABEL) return T(warp_argmax(z, columns) == label);
    if (metric == AGREES) return T(warp_argmax(z, columns) == warp_argmax(y, columns));
    T sum = 0;
    for (int j = lane; j < columns; j += WARP) {
        T e = (metric == SQUARED_ERROR_OF_RATE ? exp(z[j]) : z[j]) - y[j];
        sum += metric == SIDES ? T((z[j] > threshold) != (y[j] > T(0.5))) : e * e;
    }
    sum = warp_sum(sum);
    return metric == SIDES ? T(sum == 0) : sum;
}

// All that follows from the outputs z: the batch's loss, its gradient dz, the metric's sum.
//
// A warp per row. Each block leaves its two sums in `parts`; the block that arrives last adds
// them up in order, and `arrived` is 0 again. `y` is int labels for LABELS and IS_LABEL, else T.
// `weight` and its sum `total` may be null: all ones.
template <typename T>
__global__ void assess(int loss, int metric, const T* z, const void* y, const T* weight,
                       const T* total, int n, int columns, T setting, T threshold, T bound, T* dz,
                       T* parts, unsigned* arrived, T* value, T* score) {
    int lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    T loss_sum = 0, metric_sum = 0;  // of this warp, the same in all its lanes
    for (long long i = (long long)blockIdx.x * warps + threadIdx.x / WARP; i < n;
         i += (long long)gridDim.x * warps) {
        const T *row = z + i * columns, *target = (const T*)y + i * columns;
        int label = loss == LABELS ? ((const int*)y)[i] : -1;
        T share = weight ? weight[i] / *total : 1 / T(n), own = 0;
        if (loss == LABELS || loss == CATEGORICAL) {
            own = softmax_loss(row, target, label, columns, setting, bound, share, dz + i * columns);
        } else {
            for (int j = lane; j < columns; j += WARP) {
                T slope;
                own += element_loss(loss, row[j], target[j], setting, &slope);
                dz[i * columns + j] = slope * share;
            }
            own = warp_sum(own);
        }
        loss_sum += own * share;
        if (metric != NO_METRIC)
            metric_sum += row_metric(metric, row, target, label, columns, threshold);
    }
    loss_sum = block_sum(lane ? T(0) : loss_sum);
    metric_sum = block_sum(lane ? T(0) : metric_sum);
    __shared__ bool last;
    if (threadIdx.x == 0) {
        parts[2 * blockIdx.x] = loss_sum;
        parts[2 * blockIdx.x + 1] = metric_sum;
        __threadfence();  // the sums are there before the arrival is
        last = atomicInc(arrived, gridDim.x - 1) == gridDim.x - 1;
    }
    __syncthreads();
    if (!last) return;
    __threadfence();
    loss_sum = metric_sum = 0;
    for (int b = threadIdx.x; b < gridDim.x; b += blockDim.x) {
        loss_sum += ((volatile T*)parts)[2 * b];
        metric_sum += ((volatile T*)parts)[2 * b + 1];
    }
    loss_sum = block_sum(loss_sum);
    metric_sum = block_sum(metric_sum);
    if (threadIdx.x == 0) { *value = loss_sum; *score = metric_sum; }
}

// An epoch's sums, with what rounding lost; one block. `score` may be null.
template <typename T>
__global__ void accumulate(T* totals, T* carry, int* finite, const T* value, T n, const T* score,
                           int scores) {
    T sum = 0;
    for (int i = threadIdx.x; score && i < scores; i += blockDim.x) sum += score[i];
    sum = block_sum(sum);
    if (threadIdx.x != 0) return;
    T adds[2] = {*value * n, sum};
    for (int k = 0; k < 2; k++) {
        T add = adds[k] - carry[k], total = totals[k] + add;
        carry[k] = (total - totals[k]) - add;
        totals[k] = total;
        finite[k] += isfinite(total);
    }
}

// Updates, in place.

template <typename T> __global__ void sgd(T* p, const T* g, const T* rate, long long n) {
    for (long long i = first(); i < n; i += all()) p[i] -= *rate * g[i];
}

template <typename T>
__global__ void momentum(T* p, const T* g, T* v, const T* rate, T mu, int nesterov, long long n) {
    for (long long i = first(); i < n; i += all()) {
        T moved = mu * v[i] + g[i];
        v[i] = moved;
        p[i] -= *rate * (nesterov ? g[i] + mu * moved : moved);
    }
}

template <typename T>
__global__ void adagrad(T* p, const T* g, T* s, const T* rate, T epsilon, long long n) {
    for (long long i = first(); i < n; i += all()) {
        T square = s[i] + g[i] * g[i];
        s[i] = square;
        p[i] -= *rate * g[i] / (sqrt(square) + epsilon);
    }
}

template <typename T>
__global__ void rmsprop(T* p, const T* g, T* s, const T* rate, T rho, T rest, T epsilon,
                        long long n) {
    for (long long i = first(); i < n; i += all()) {
        T square = rho * s[i] + rest * (g[i] * g[i]);
        s[i] = square;
        p[i] -= *rate * g[i] / (sqrt(square) + epsilon);
    }
}

// Four neighbours, which a thread loads and stores at once where the arrays allow it.
template <typename T> struct alignas(4 * sizeof(T)) Four { T of[4]; };

template <typename T> struct Adam {
    T c0, c1, c2, beta1, rest1, beta2, rest2, epsilon;
    __device__ void update(T& p, T g, T& m, T& v) const {
        m = beta1 * m + rest1 * g;
        v = beta2 * v + rest2 * (g * g);
        p = c2 * p - c0 * m / (c1 * sqrt(v) + epsilon);
    }
};

// c holds the step's [rate/(1 - beta1^t), 1/sqrt(1 - beta2^t), 1 - rate decay].
template <typename T>
__global__ void adam(T* p, const T* g, T* m, T* v, const T* c, T beta1, T rest1, T beta2, T rest2,
                     T epsilon, long long n) {
    const Adam<T> adam = {c[0], c[1], c[2], beta1, rest1, beta2, rest2, epsilon};
    size_t places = (size_t)p | (size_t)g | (size_t)m | (size_t)v;
    long long fours = places % sizeof(Four<T>) ? 0 : n / 4;
    for (long long i = first(); i < fours; i += all()) {
        Four<T> theta = ((Four<T>*)p)[i], grad = ((const Four<T>*)g)[i];
        Four<T> mean = ((Four<T>*)m)[i], square = ((Four<T>*)v)[i];
        for (int k = 0; k < 4; k++)
            adam.update(theta.of[k], grad.of[k], mean.of[k], square.of[k]);
        ((Four<T>*)p)[i] = theta;
        ((Four<T>*)m)[i] = mean;
        ((Four<T>*)v)[i] = square;
    }
    for (long long i = 4 * fours + first(); i < n; i += all()) adam.update(p[i], g[i], m[i], v[i]);
}
