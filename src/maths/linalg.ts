/**
 * Dense linear algebra in float64 on row-major matrices: A [m,n] has A_ij at i·n + j.
 *
 * Every loop runs over contiguous memory, and only + − × ÷ and square roots are used, so that two engines that follow
 * IEEE 754 give the same bits.
 */

import { InputError } from '../errors.ts';

/** A matrix's elements, row-major. */
export type Elements = Float64Array | Float32Array;

/** How many elements of a row are used before going to the next rows: eight such pieces fit the first-level cache. */
const PANEL = 512;

/** A [m,n] → Aᵀ [n,m]. */
export function transpose(A: Elements, m: number, n: number): Float64Array {
  const At = new Float64Array(n * m);
  const TILE = 16;
  for (let i0 = 0; i0 < m; i0 += TILE) {
    const i1 = Math.min(i0 + TILE, m);
    for (let j0 = 0; j0 < n; j0 += TILE) {
      const j1 = Math.min(j0 + TILE, n);
      for (let i = i0; i < i1; i++) for (let j = j0; j < j1; j++) At[j * m + i] = A[i * n + j];
    }
  }
  return At;
}

/** A [m,k], B [n,k] → A Bᵀ [m,n], in tiles of 4 × 2 rows. */
export function multiplyTransposed(A: Float64Array, B: Float64Array, m: number, n: number, k: number): Float64Array {
  const C = new Float64Array(m * n);
  for (let p0 = 0; p0 < k; p0 += PANEL) {
    const length = Math.min(PANEL, k - p0);
    let i = 0;
    for (; i + 4 <= m; i += 4) {
      const a0 = i * k + p0;
      const a1 = a0 + k;
      const a2 = a1 + k;
      const a3 = a2 + k;
      let j = 0;
      for (; j + 2 <= n; j += 2) {
        const b0 = j * k + p0;
        const b1 = b0 + k;
        let s00 = 0;
        let s01 = 0;
        let s10 = 0;
        let s11 = 0;
        let s20 = 0;
        let s21 = 0;
        let s30 = 0;
        let s31 = 0;
        for (let p = 0; p < length; p++) {
          const x = B[b0 + p];
          const y = B[b1 + p];
          const r = A[a0 + p];
          const s = A[a1 + p];
          const t = A[a2 + p];
          const u = A[a3 + p];
          s00 += r * x;
          s01 += r * y;
          s10 += s * x;
          s11 += s * y;
          s20 += t * x;
          s21 += t * y;
          s30 += u * x;
          s31 += u * y;
        }
        const c = i * n + j;
        C[c] += s00;
        C[c + 1] += s01;
        C[c + n] += s10;
        C[c + n + 1] += s11;
        C[c + 2 * n] += s20;
        C[c + 2 * n + 1] += s21;
        C[c + 3 * n] += s30;
        C[c + 3 * n + 1] += s31;
      }
      for (; j < n; j++) for (let r = i; r < i + 4; r++) C[r * n + j] += dot(A, r * k + p0, B, j * k + p0, length);
    }
    for (; i < m; i++) for (let j = 0; j < n; j++) C[i * n + j] += dot(A, i * k + p0, B, j * k + p0, length);
  }
  return C;
}

/** Σ_p x[x0+p] y[y0+p] over `length` elements. */
export function dot(x: Elements, x0: number, y: Elements, y0: number, length: number): number {
  let sum = 0;
  for (let p = 0; p < length; p++) sum += x[x0 + p] * y[y0 + p];
  return sum;
}

/** y[y0+p] += alpha · x[x0+p] over `length` elements. */
function addScaled(y: Float64Array, y0: number, alpha: number, x: Float64Array, x0: number, length: number): void {
  for (let p = 0; p < length; p++) y[y0 + p] += alpha * x[x0 + p];
}

/** The mean row [n] of A [m,n]. */
export function meanRow(A: Elements, m: number, n: number): Float64Array {
  const mean = new Float64Array(n);
  for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) mean[j] += A[i * n + j];
  for (let j = 0; j < n; j++) mean[j] /= m;
  return mean;
}

/** A [m,n] with its mean row taken from every row, a copy. */
export function centreRows(A: Elements, m: number, n: number): Float64Array {
  const mean = meanRow(A, m, n);
  const centred = new Float64Array(m * n);
  for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) centred[i * n + j] = A[i * n + j] - mean[j];
  return centred;
}

/** An eigendecomposition A = Σ_i values_i v_i v_iᵀ; v_i is row i of `vectors` [n,n]. Values descend. */
export interface Eigen {
  values: Float64Array;
  vectors: Float64Array;
}

/**
 * All eigenvalues and orthonormal eigenvectors of a symmetric A [n,n], to about n · 2^−52 of the largest |eigenvalue|.
 *
 * Householder tridiagonalisation, then implicit symmetric QR steps with Wilkinson's shift
 * (Golub and Van Loan, *Matrix Computations*, algorithms 8.3.1 and 8.3.3).
 * @throws InputError if A holds NaN or an infinity
 */
export function symmetricEigen(A: Float64Array, n: number): Eigen {
  let scale = 0;
  for (let i = 0; i < n * n; i++) {
    if (!Number.isFinite(A[i])) throw new InputError(`symmetricEigen: element ${i} is ${A[i]}`);
    scale = Math.max(scale, Math.abs(A[i]));
  }
  if (scale === 0) scale = 1;
  // Elements of at most 1, so that no square overflows.
  const { diagonal, offDiagonal, basis } = tridiagonalise(
    A.map((x) => x / scale),
    n,
  );
  diagonaliseTridiagonal(diagonal, offDiagonal, basis, n);
  const order = Array.from(diagonal.keys()).sort((i, j) => diagonal[j] - diagonal[i]);
  const values = new Float64Array(n);
  const vectors = new Float64Array(n * n);
  order.forEach((from, to) => {
    values[to] = diagonal[from] * scale;
    vectors.set(basis.subarray(from * n, (from + 1) * n), to * n);
  });
  return { values, vectors };
}

/** A = Q T Qᵀ with T tridiagonal; `basis` is Qᵀ [n,n]. Destroys A. */
function tridiagonalise(A: Float64Array, n: number) {
  const diagonal = new Float64Array(n);
  const offDiagonal = new Float64Array(Math.max(0, n - 1));
  /** Row k is the Householder vector that clears row k beyond the off-diagonal, scaled to |v|² = 2. */
  const reflectors = new Float64Array(n * n);
  const w = new Float64Array(n);
  for (let k = 0; k < n; k++) {
    diagonal[k] = A[k * n + k];
    if (k === n - 1) break;
    const first = k * n + k + 1;
    const length = n - k - 1;
    const norm = Math.sqrt(dot(A, first, A, first, length));
    const leading = A[first];
    const alpha = leading > 0 ? -norm : norm;
    offDiagonal[k] = alpha;
    // |x − alpha e|² = 2 norm (norm + |leading|); the sign of alpha avoids cancellation.
    const size = Math.sqrt(norm * (norm + Math.abs(leading)));
    if (size === 0) continue;
    for (let j = 0; j < length; j++) reflectors[first + j] = A[first + j] / size;
    reflectors[first] = (leading - alpha) / size;
    // H = I − v vᵀ; H S H = S − v wᵀ − w vᵀ with w = S v − ½ (vᵀ S v) v, on the trailing block S.
    for (let i = 0; i < length; i++) w[i] = dot(A, (k + 1 + i) * n + k + 1, reflectors, first, length);
    addScaled(w, 0, -0.5 * dot(w, 0, reflectors, first, length), reflectors, first, length);
    for (let i = 0; i < length; i++) {
      const row = (k + 1 + i) * n + k + 1;
      const vi = reflectors[first + i];
      const wi = w[i];
      for (let j = 0; j < length; j++) A[row + j] -= vi * w[j] + wi * reflectors[first + j];
    }
  }
  const basis = new Float64Array(n * n);
  for (let i = 0; i < n; i++) basis[i * n + i] = 1;
  for (let k = n - 2; k >= 0; k--) {
    const first = k * n + k + 1;
    const length = n - k - 1;
    for (let i = k + 1; i < n; i++) {
      const row = i * n + k + 1;
      addScaled(basis, row, -dot(basis, row, reflectors, first, length), reflectors, first, length);
    }
  }
  return { diagonal, offDiagonal, basis };
}

/** Turns the tridiagonal matrix into a diagonal one in place, and the rows of `basis` with it. */
function diagonaliseTridiagonal(diagonal: Float64Array, offDiagonal: Float64Array, basis: Float64Array, n: number) {
  const negligible = (i: number) =>
    Math.abs(offDiagonal[i]) <= Number.EPSILON * (Math.abs(diagonal[i]) + Math.abs(diagonal[i + 1]));
  const stepLimit = 60 * n;
  let steps = 0;
  let high = n - 1;
  while (high > 0) {
    if (negligible(high - 1)) {
      high--;
      continue;
    }
    if (++steps > stepLimit) throw new InputError('symmetricEigen: no convergence');
    let low = high - 1;
    while (low > 0 && !negligible(low - 1)) low--;
    // Wilkinson's shift: the eigenvalue of the trailing 2 × 2 block nearer to its last element.
    const delta = (diagonal[high - 1] - diagonal[high]) / 2;
    const e = offDiagonal[high - 1];
    const root = Math.sqrt(delta * delta + e * e);
    const shift = diagonal[high] - (e * e) / (delta + (delta < 0 ? -root : root));
    // Chase the bulge z down with rotations of the rows k and k + 1.
    let x = diagonal[low] - shift;
    let z = offDiagonal[low];
    for (let k = low; k < high; k++) {
      const r = Math.sqrt(x * x + z * z);
      const c = r === 0 ? 1 : x / r;
      const s = r === 0 ? 0 : z / r;
      if (k > low) offDiagonal[k - 1] = r;
      const a = diagonal[k];
      const b = offDiagonal[k];
      const g = diagonal[k + 1];
      diagonal[k] = c * c * a + 2 * c * s * b + s * s * g;
      diagonal[k + 1] = s * s * a - 2 * c * s * b + c * c * g;
      offDiagonal[k] = c * s * (g - a) + (c * c - s * s) * b;
      if (k + 1 < high) {
        x = offDiagonal[k];
        z = s * offDiagonal[k + 1];
        offDiagonal[k + 1] *= c;
      }
      const upper = k * n;
      const lower = upper + n;
      for (let j = 0; j < n; j++) {
        const p = basis[upper + j];
        const q = basis[lower + j];
        basis[upper + j] = c * p + s * q;
        basis[lower + j] = c * q - s * p;
      }
    }
  }
}

/**
 * Orthonormal rows [rank, n] spanning the rows of A [m,n], orthogonal to the orthonormal rows of `against` [r,n].
 *
 * Modified Gram-Schmidt, each row orthogonalised twice (Giraud, Langou and Rozložník, *The loss of orthogonality in the
 * Gram-Schmidt orthogonalization process*, 2005). A row of which less than `tolerance` of its length remains depends on the
 * earlier ones and adds nothing.
 */
export function orthonormaliseRows(
  A: Float64Array,
  m: number,
  n: number,
  against: Float64Array = new Float64Array(0),
  tolerance = 1e-10,
): { rows: Float64Array; rank: number } {
  const rows = new Float64Array(Math.min(m, n) * n);
  let rank = 0;
  for (let i = 0; i < m && rank * n + against.length < n * n; i++) {
    const row = A.slice(i * n, (i + 1) * n);
    const before = Math.sqrt(dot(row, 0, row, 0, n));
    for (let pass = 0; pass < 2; pass++) {
      for (let b = 0; b < against.length; b += n) addScaled(row, 0, -dot(row, 0, against, b, n), against, b, n);
      for (let b = 0; b < rank * n; b += n) addScaled(row, 0, -dot(row, 0, rows, b, n), rows, b, n);
    }
    const after = Math.sqrt(dot(row, 0, row, 0, n));
    if (!(after > tolerance * before)) continue;
    for (let j = 0; j < n; j++) rows[rank * n + j] = row[j] / after;
    rank++;
  }
  return { rows: rows.slice(0, rank * n), rank };
}

/**
 * Singular values of F0 below this share of the largest are taken for zero. Features come as float32, with 6e-8 relative
 * error: directions weaker than 1e-6 are mostly rounding.
 */
export const DEFAULT_RCOND = 1e-6;

/** The normal equations square singular values: below this share they cannot be told from zero in float64. */
export const MIN_RCOND = 2e-7;

/** Options of {@link leastSquares}; n, d, dt are the shapes. */
export interface LeastSquaresOptions {
  /** Rows of both matrices. */
  n: number;
  /** Columns of F0. */
  d: number;
  /** Columns of Ft. */
  dt: number;
  /** Take the mean row from F0 and from Ft first: a fit with an intercept. */
  centre: boolean;
  /** Relative truncation of the singular values, in [2e-7, 1); default {@link DEFAULT_RCOND}. */
  rcond?: number;
}

/** What {@link leastSquares} gives. */
export interface LeastSquares {
  /** [d, dt], of minimal norm. */
  X: Float64Array;
  /** How many singular values of F0 (centred, if so asked) were kept. */
  rank: number;
  n: number;
  /** 1 − ‖Ft − F0 X‖²/‖Ft‖² of the (centred, if so asked) matrices; 0 where Ft is zero. */
  r2: number;
}

/**
 * Solves F0 [n,d] X [d,dt] ≈ Ft [n,dt] in the least-squares sense by a truncated singular value decomposition of F0:
 * X = Σ_i v_i (u_iᵀ Ft)/σ_i over σ_i ≥ rcond · σ_1.
 *
 * σ_i² and v_i are the eigenvalues and -vectors of F0ᵀF0, which costs a fraction of a QR of a tall F0. What squaring the
 * condition number costs is taken back by one step of iterative refinement with the residual of the data
 * (Björck, *Numerical Methods for Least Squares Problems*, section 2.9: corrected semi-normal equations).
 * @throws InputError if F0 is zero (centred: constant), if shapes and lengths disagree, or rcond is outside its range
 */
export function leastSquares(F0: Elements, Ft: Elements, options: LeastSquaresOptions): LeastSquares {
  const { n, d, dt, centre, rcond = DEFAULT_RCOND } = options;
  if (!(rcond >= MIN_RCOND && rcond < 1)) {
    throw new InputError(`leastSquares: rcond must be at least ${MIN_RCOND} and below 1, it is ${rcond}`);
  }
  if (F0.length !== n * d || Ft.length !== n * dt) {
    throw new InputError(
      `leastSquares: F0 [${n},${d}] has ${F0.length} elements, Ft [${n},${dt}] has ${Ft.length} elements`,
    );
  }
  const rows = centre ? centreRows(F0, n, d) : Float64Array.from(F0);
  const columns = transpose(rows, n, d);
  const targets = transpose(centre ? centreRows(Ft, n, dt) : Ft, n, dt);

  const { values, vectors } = symmetricEigen(multiplyTransposed(columns, columns, d, d, n), d);
  const largest = values[0];
  if (!(largest > 0)) throw new InputError('leastSquares: F0 is zero');
  let rank = 0;
  while (rank < d && values[rank] >= rcond * rcond * largest) rank++;
  const V = vectors.subarray(0, rank * d);
  const Vt = transpose(V, rank, d);

  /** targets Tᵀ [dt,n] → Xᵀ [dt,d] = (T F0) V Λ⁻¹ Vᵀ, of the transposed problem. */
  const solve = (T: Float64Array): Float64Array => {
    const inEigenbasis = multiplyTransposed(multiplyTransposed(T, columns, dt, d, n), V, dt, rank, d);
    for (let j = 0; j < dt; j++) for (let i = 0; i < rank; i++) inEigenbasis[j * rank + i] /= values[i];
    return multiplyTransposed(inEigenbasis, Vt, dt, d, rank);
  };

  const Xt = solve(targets);
  const residual = multiplyTransposed(Xt, rows, dt, n, d);
  for (let i = 0; i < residual.length; i++) residual[i] = targets[i] - residual[i];
  // The refinement changes X by rounding errors only, and the residual's norm by their square.
  const total = dot(targets, 0, targets, 0, targets.length);
  const r2 = total > 0 ? 1 - dot(residual, 0, residual, 0, residual.length) / total : 0;
  const correction = solve(residual);
  for (let i = 0; i < Xt.length; i++) Xt[i] += correction[i];
  return { X: transpose(Xt, dt, d), rank, n, r2 };
}
