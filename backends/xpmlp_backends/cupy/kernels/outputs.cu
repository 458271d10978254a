// Sums, and what follows from a batch's outputs: loss, gradient, metric, an epoch's totals.

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
    case POISSON: case POISSON_DEVIANCE: {
        T bound = sizeof(T) == 8 ? T(700) : T(80), rate = exp(z > bound ? bound : z);
        *dz = rate - y;
        T of_count = loss == POISSON_DEVIANCE && y != 0 ? y * log(y) - y : T(0);
        return rate - y * z + of_count;
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
                       unsigned short* half, T* parts, unsigned* arrived, T* value, T* score) {
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
        for (int j = lane; half && j < columns; j += WARP)
            half[i * columns + j] = bfloat16(dz[i * columns + j]);
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
