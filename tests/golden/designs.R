# Fresh references for designs that ../shared/reference does not hold.
suppressPackageStartupMessages({library(survey); library(nlme); library(jsonlite)})
out <- list()
num <- function(v) as.numeric(v)
es <- function(o) list(est = num(coef(o)), se = num(SE(o)))
## 1. Stratified two-stage, unequal n, N, m, M; one stratum taken whole at the first stage.
N <- c(A = 7, B = 11, C = 40, D = 2); n <- c(A = 2, B = 3, C = 5, D = 2)
rows <- list(); k <- 0
for (h in names(N)) for (i in seq_len(n[h])) {
  M <- 3 + ((7 * i + 5 * match(h, names(N))) %% 6); m <- min(M, 2 + (i %% 3))
  for (j in seq_len(m)) { k <- k + 1
    x <- 10 + (17 * k) %% 13
    y <- if ((k * k + i) %% 4 == 0) 0 else ((31 * k + 7 * i) %% 23) / 4 + x / 9
    rows[[k]] <- data.frame(h = h, psu = paste0(h, i), N = N[[h]], M = M, m = m, n = n[[h]],
      x = x, y = y, d = c("p", "q", "r")[1 + (k * 5 + i) %% 3], g = c("u", "v")[1 + (k %% 2)])
  }}
d <- do.call(rbind, rows); d$w <- d$N / d$n * d$M / d$m; d$one <- 1; d$id <- seq_len(nrow(d))
for (q in c("p", "q", "r")) { d[[paste0("y", q)]] <- d$y * (d$d == q); d[[paste0("x", q)]] <- d$x * (d$d == q) }
g <- svydesign(ids = ~psu + id, strata = ~h, fpc = ~N + M, data = d)
b <- svytotal(~yp + yq + yr, g)
rb <- svyratio(~yp + yq + yr, ~xp + xq + xr, g, covmat = TRUE)
di <- c(1, 5, 9)
wr <- svydesign(ids = ~psu, strata = ~h, weights = ~w, data = d)
jk <- as.svrepdesign(wr, type = "JKn")
jkf <- as.svrepdesign(svydesign(ids = ~psu, strata = ~h, fpc = ~N, weights = ~w, data = d), type = "JKn")
out$two_stage <- list(data = d[, c("h", "psu", "N", "M", "x", "y", "d", "g", "w")],
  total = c(es(svytotal(~y, g)), df = degf(g), deff = num(deff(svytotal(~y, g, deff = TRUE)))),
  mean = es(svymean(~y, g)), ratio = es(svyratio(~y, ~x, g)),
  by_domain = list(est = num(coef(b)), vcov = unname(as.matrix(vcov(b)))),
  ratio_by_domain = list(est = num(coef(rb))[di], vcov = unname(as.matrix(vcov(rb)))[di, di]),
  contrast_p_minus_r = es(svycontrast(b, c(1, 0, -1))),
  with_replacement = list(total = es(svytotal(~y, wr)), ratio = es(svyratio(~y, ~x, wr))),
  jkn = list(total = es(svytotal(~y, jk)), ratio = es(svyratio(~y, ~x, jk)),
    ratio_by_domain = es(svyby(~y, ~d, jk, svyratio, denominator = ~x))),
  jkn_fpc = list(total = es(svytotal(~y, jkf)), ratio = es(svyratio(~y, ~x, jkf))))
## 2. Post-stratification and calibration on the clusters, with first- and second-stage fpc.
pop <- data.frame(g = c("u", "v"), Freq = c(260, 250))
ps <- postStratify(g, ~g, pop)
psb <- svytotal(~yp + yq + yr, ps)
Nhat <- sum(d$w); X <- c(`(Intercept)` = 1.02 * Nhat, x = 1.05 * sum(d$w * d$x))
cl <- calibrate(g, ~x, X)
clb <- svytotal(~yp + yq + yr, cl)
ck <- calibrate(g, ~x, X, calfun = "raking", epsilon = 1e-13, maxit = 200)
Xt <- c(`(Intercept)` = 1.0 * Nhat, x = 1.04 * sum(d$w * d$x))
un <- calibrate(g, ~x, Xt)
cb <- calibrate(g, ~x, Xt, bounds = c(0.75, 1.22), epsilon = 1e-11, maxit = 500)
out$calibrated <- list(poststrata = list(u = 260, v = 250),
  post = c(es(svytotal(~y, ps)), list(ratio = es(svyratio(~y, ~x, ps)),
    by_domain = list(est = num(coef(psb)), vcov = unname(as.matrix(vcov(psb)))))),
  totals = num(X),
  linear = c(es(svytotal(~y, cl)), list(weight = num(weights(cl)),
    by_domain = list(est = num(coef(clb)), vcov = unname(as.matrix(vcov(clb)))))),
  raking = c(es(svytotal(~y, ck)), list(weight = num(weights(ck)))),
  bounded_totals = num(Xt), bounds = c(0.75, 1.22),
  unbounded_g = range(num(weights(un)) / d$w),
  bounded = c(es(svytotal(~y, cb)), list(weight = num(weights(cb)), g = range(num(weights(cb)) / d$w))))
## 3. Two raking margins on apistrat, against the classical proportional fitting of rake().
data(api)
s <- svydesign(ids = ~1, strata = ~stype, fpc = ~fpc, weights = ~pw, data = apistrat)
pa <- data.frame(stype = c("E", "H", "M"), Freq = c(4421, 755, 1018))
pw <- data.frame(sch.wide = c("No", "Yes"), Freq = c(1072, 5122))
rk <- rake(s, list(~stype, ~sch.wide), list(pa, pw), control = list(epsilon = 1e-13, maxit = 500))
cr <- calibrate(s, ~stype + sch.wide, c(`(Intercept)` = 6194, stypeH = 755, stypeM = 1018, sch.wideYes = 5122),
  calfun = "raking", epsilon = 1e-13, maxit = 200)
out$raking_two_margins <- es(svytotal(~enroll, cr))
out$rake <- c(es(svytotal(~enroll, rk)), list(weight_first10 = num(weights(rk))[1:10],
  mean_api00 = es(svymean(~api00, rk))))
## separate and combined ratio totals of a domain on apistrat (domain totals of api99 known)
tot <- with(apipop, tapply(api99, list(stype, sch.wide), sum))
dom <- subset(s, sch.wide == "Yes")
out$domain_ratio <- list(x_total_yes = sum(tot[, "Yes"]), x_total_yes_by_stype = as.list(tot[, "Yes"]),
  combined = {p <- predict(svyratio(~api00, ~api99, dom), total = sum(tot[, "Yes"])); list(est = num(p$total), se = num(p$se))},
  separate = {p <- predict(svyratio(~api00, ~api99, dom, separate = TRUE), total = as.list(tot[, "Yes"])); list(est = num(p$total), se = num(p$se))},
  separate_se_note = "R adds the strata's variances as independent")
## 4. Unit-level model with unequal residual variances: nlme, another program and another likelihood code.
m <- 9; L <- list(); k <- 0
for (i in seq_len(m)) for (j in seq_len(1 + (i * 3) %% 5)) { k <- k + 1
  a <- 8 + (k * 7) %% 19; x <- ((k * 11) %% 17) / 17
  L[[k]] <- data.frame(dom = i, a = a, x = x,
    y = 0.05 + 0.4 * x + 0.09 * sin(2.1 * i) + 0.05 * sin(17.3 * k) * sqrt(15 / a)) }
u <- do.call(rbind, L); u$c2 <- mean(u$a) / u$a
fit <- function(method) { f <- lme(y ~ x, random = ~1 | dom, data = u, weights = varFixed(~c2), method = method,
    control = lmeControl(tolerance = 1e-13, msTol = 1e-13, opt = "optim", reltol = 1e-15, maxIter = 500, msMaxIter = 2000))
  list(beta = num(fixef(f)), vcov = unname(vcov(f)), sigma2_v = num(getVarCov(f)), sigma2_e = num(f$sigma^2),
    loglik = num(logLik(f)), effect = num(ranef(f)[order(num(rownames(ranef(f)))), 1])) }
out$unequal_bhf <- list(data = u[, c("dom", "a", "x", "y")], REML = fit("REML"), ML = fit("ML"))
if (requireNamespace("metafor", quietly = TRUE)) {
  suppressPackageStartupMessages(library(metafor))
  A <- data.frame(i = 1:14); A$x <- ((A$i * 5) %% 14) / 14; A$D <- 0.01 + ((A$i * 9) %% 14) / 400
  A$y <- 0.2 + 0.5 * A$x + 0.35 * sin(2.3 * A$i)
  fh <- function(method) { r <- rma(yi = y, vi = D, mods = ~x, data = A, method = method, test = "z",
      control = list(threshold = 1e-14, maxiter = 10000, tol = 1e-14))
    list(beta = num(coef(r)), vcov = unname(vcov(r)), sigma2_u = r$tau2, blup = num(blup(r)$pred), loglik = num(logLik(r, REML = FALSE))) }
  out$area_level <- list(data = A, REML = fh("REML"), ML = fh("ML"), moment = fh("PM"))
}
out$versions <- list(R = as.character(getRversion()), survey = as.character(packageVersion("survey")),
  nlme = as.character(packageVersion("nlme")), metafor = if (requireNamespace("metafor", quietly = TRUE)) as.character(packageVersion("metafor")) else NULL)
write_json(out, commandArgs(TRUE)[1], digits = NA, auto_unbox = TRUE, dataframe = "columns", pretty = TRUE)
