/* The passes of map_passes and channel_passes on a CPU; c_library.py compiles this file and cpu_passes.py calls it.
 *
 * Maps are (N, C, K) in one piece, and REAL is their type and that of the sums. A task has TILE cells of an image and all
 * its channels, or one channel of an image. So each value is read from memory once, and no sum depends on the number of
 * threads. Sums over the cells of a tile are written to `parts` (sums, N, tiles, C); the caller adds them up.
 */

#define TILES(cells) (((cells) + TILE - 1) / TILE)
#define TASKS _Pragma("omp parallel for num_threads(threads) schedule(static)")

static long smaller(long a, long b) { return a < b ? a : b; }
/* Ask for the part of the next row: the CPU does not look ahead beyond the end of a page by itself. */
static void prefetch(const REAL *row, long width)
{
    for (long k = 0; k < width; k += 64 / sizeof(REAL))
        __builtin_prefetch(row + k, 0, 2);
}
static REAL sign(REAL value) { return (REAL)((value > 0) - (value < 0)); }

void scan(int threads, long images, long channels, long cells, const REAL *features, const REAL *weight, REAL *of_cells,
          REAL *scores, REAL *parts)
{
    const long tiles = TILES(cells);
    TASKS
    for (long task = 0; task < images * tiles; task++) {
        const long image = task / tiles, first = task % tiles * TILE, width = smaller(TILE, cells - first);
        REAL of_cell[TILE] = {0}, score[TILE] = {0};
        for (long c = 0; c < channels; c++) {
            const REAL *value = features + (image * channels + c) * cells + first, its_weight = weight[c];
            REAL magnitudes = 0, total = 0;
            prefetch(value + cells, width);
            #pragma omp simd reduction(+ : magnitudes, total)
            for (long k = 0; k < width; k++) {
                const REAL magnitude = value[k] < 0 ? -value[k] : value[k];
                of_cell[k] += magnitude;
                score[k] += its_weight * value[k];
                magnitudes += magnitude;
                total += value[k];
            }
            parts[task * channels + c] = magnitudes;
            parts[(images * tiles + task) * channels + c] = total;
        }
        for (long k = 0; k < width; k++) {
            of_cells[image * cells + first + k] = of_cell[k];
            scores[image * cells + first + k] = score[k];
        }
    }
}

/* columns: centre, weights (N, C) each; the poolings: (N, K). */
void compare(int threads, long images, long channels, long cells, const REAL *student, const REAL *teacher,
             const REAL *columns, const REAL *our_poolings, const REAL *their_poolings, REAL *weighed, REAL *parts)
{
    const long tiles = TILES(cells), next_column = images * channels, next_part = images * tiles * channels;
    TASKS
    for (long task = 0; task < images * tiles; task++) {
        const long image = task / tiles, first = task % tiles * TILE, width = smaller(TILE, cells - first);
        const long of_cells = image * cells + first;
        const REAL *our_pooling = our_poolings + of_cells, *their_pooling = their_poolings + of_cells;
        REAL total[TILE] = {0};
        for (long c = 0; c < channels; c++) {
            const long at = image * channels + c;
            const REAL *ours = student + at * cells + first, *theirs = teacher + at * cells + first;
            const REAL centre = columns[at], weight = columns[next_column + at];
            prefetch(ours + cells, width);
            prefetch(theirs + cells, width);
            REAL excess = 0, spread = 0, our_context = 0, their_context = 0;
            #pragma omp simd reduction(+ : excess, spread, our_context, their_context)
            for (long k = 0; k < width; k++) {
                const REAL difference = ours[k] - theirs[k], apart = difference - centre;
                total[k] += weight * difference * difference;
                excess += apart;
                spread += apart * apart;
                our_context += ours[k] * our_pooling[k];
                their_context += theirs[k] * their_pooling[k];
            }
            REAL *part = parts + task * channels + c;
            part[0] = excess;
            part[next_part] = spread;
            part[2 * next_part] = our_context;
            part[3 * next_part] = their_context;
        }
        for (long k = 0; k < width; k++)
            weighed[of_cells + k] = total[k];
    }
}

/* along: see Passes (2, N); columns: the fields of Columns (N, C) each, then those of Rows (N, K). The cells of a task
 * stay in the cache between the sums over their channels, which give the slopes of the scores, and the gradient. */
void gradients(int threads, long images, long channels, long cells, const REAL *student, const REAL *teacher,
               const REAL *along, const REAL *columns, const REAL *our_poolings, const REAL *their_poolings,
               const REAL *rows_weighed, const REAL *rows_sign, REAL *gradient, REAL *parts)
{
    const long tiles = TILES(cells), next = images * channels;
    TASKS
    for (long task = 0; task < images * tiles; task++) {
        const long image = task / tiles, first = task % tiles * TILE, width = smaller(TILE, cells - first);
        const long of_cells = image * cells + first;
        const REAL *our_pooling = our_poolings + of_cells, *their_pooling = their_poolings + of_cells;
        const REAL *row_weighed = rows_weighed + of_cells, *row_sign = rows_sign + of_cells;
        REAL our_scores[TILE] = {0}, their_scores[TILE] = {0};
        for (long c = 0; c < channels; c++) {
            const long at = image * channels + c;
            const REAL *ours = student + at * cells + first, *theirs = teacher + at * cells + first;
            const REAL our_slope = columns[at], their_slope = columns[6 * next + at];
            prefetch(ours + cells, width);
            prefetch(theirs + cells, width);
            #pragma omp simd
            for (long k = 0; k < width; k++) {
                our_scores[k] += our_slope * ours[k];
                their_scores[k] += their_slope * theirs[k];
            }
        }
        for (long k = 0; k < width; k++) {
            our_scores[k] = our_pooling[k] * (our_scores[k] - along[image]);
            their_scores[k] = their_pooling[k] * (their_scores[k] - along[images + image]);
        }
        for (long c = 0; c < channels; c++) {
            const long at = image * channels + c;
            const REAL *ours = student + at * cells + first, *theirs = teacher + at * cells + first, *its = columns + at;
            const REAL our_slope = its[0], our_weight = its[next], of_weighed = its[2 * next], of_spread = its[3 * next];
            const REAL constant = its[4 * next], of_sign = its[5 * next];
            REAL *into = gradient + at * cells + first, our_result = 0, their_result = 0;
            #pragma omp simd reduction(+ : our_result, their_result)
            for (long k = 0; k < width; k++) {
                our_result += ours[k] * our_scores[k];
                their_result += theirs[k] * their_scores[k];
                into[k] = (ours[k] - theirs[k]) * (of_weighed * row_weighed[k] + of_spread) + constant
                    + sign(ours[k]) * (of_sign + row_sign[k]) + our_slope * our_pooling[k] + our_weight * our_scores[k];
            }
            parts[task * channels + c] = our_result;
            parts[(images * tiles + task) * channels + c] = their_result;
        }
    }
}

/* The distances of two maps from the means of their channels; sums: both means, both squares, the product; (N, C) each. */
void moments(int threads, long images, long channels, long cells, const REAL *ours, const REAL *theirs, REAL *sums)
{
    const long rows = images * channels;
    TASKS
    for (long row = 0; row < rows; row++) {
        const REAL *x = ours + row * cells, *y = theirs + row * cells;
        double total = 0, their_total = 0;
        for (long first = 0; first < cells; first += TILE) {
            const long end = smaller(first + TILE, cells);
            REAL of_tile = 0, their_tile = 0;
            #pragma omp simd reduction(+ : of_tile, their_tile)
            for (long k = first; k < end; k++) {
                of_tile += x[k];
                their_tile += y[k];
            }
            total += of_tile;
            their_total += their_tile;
        }
        const REAL mean = total / cells, their_mean = their_total / cells;
        double square = 0, their_square = 0, product = 0;
        for (long first = 0; first < cells; first += TILE) {
            const long end = smaller(first + TILE, cells);
            REAL of_tile = 0, their_tile = 0, of_both = 0;
            #pragma omp simd reduction(+ : of_tile, their_tile, of_both)
            for (long k = first; k < end; k++) {
                const REAL distance = x[k] - mean, their_distance = y[k] - their_mean;
                of_tile += distance * distance;
                their_tile += their_distance * their_distance;
                of_both += distance * their_distance;
            }
            square += of_tile;
            their_square += their_tile;
            product += of_both;
        }
        const double found[] = {mean, their_mean, square, their_square, product};
        for (int each = 0; each < 5; each++)
            sums[each * rows + row] = found[each];
    }
}

/* weights: centre, weight, their centre, their weight, constant; (N, C) each. */
void combine(int threads, long images, long channels, long cells, const REAL *ours, const REAL *theirs,
             const REAL *weights, REAL *result)
{
    const long rows = images * channels;
    TASKS
    for (long row = 0; row < rows; row++) {
        const REAL *x = ours + row * cells, *y = theirs + row * cells, *its = weights + row;
        const REAL centre = its[0], weight = its[rows], their_centre = its[2 * rows], their_weight = its[3 * rows];
        const REAL constant = its[4 * rows];
        REAL *into = result + row * cells;
        #pragma omp simd
        for (long k = 0; k < cells; k++)
            into[k] = weight * (x[k] - centre) + their_weight * (y[k] - their_centre) + constant;
    }
}

/* The sign of each value times the sum of a number of its channel (N, C) and of its cell (N, K). */
void signs(int threads, long images, long channels, long cells, const REAL *features, const REAL *columns,
           const REAL *rows, REAL *result)
{
    TASKS
    for (long row = 0; row < images * channels; row++) {
        const REAL *value = features + row * cells, *of_cells = rows + row / channels * cells, of_channel = columns[row];
        REAL *into = result + row * cells;
        #pragma omp simd
        for (long k = 0; k < cells; k++)
            into[k] = sign(value[k]) * (of_channel + of_cells[k]);
    }
}
