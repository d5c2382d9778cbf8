"use strict";
// Draws the report from the data in the page. Text of the target's only ever goes through textContent.
(function () {
  var data = JSON.parse(document.getElementById("data").textContent);
  var r = data.result;
  var page = document.getElementById("page");
  page.textContent = "";
  var NS = "http://www.w3.org/2000/svg";

  function el(tag, attributes) {
    var svg = /^(svg|g|line|path|rect|circle|text|title)$/.test(tag);
    var node = svg ? document.createElementNS(NS, tag) : document.createElement(tag);
    Object.keys(attributes || {}).forEach(function (key) { node.setAttribute(key, attributes[key]); });
    for (var i = 2; i < arguments.length; i++) {
      var child = arguments[i];
      if (child === null || child === undefined) continue;
      node.appendChild(child instanceof Node ? child : document.createTextNode(String(child)));
    }
    return node;
  }
  function add(node) { page.appendChild(node); return node; }
  function heading(text) { add(el("h2", {}, text)); }

  function table(head, rows, numeric) {
    var t = el("table", {});
    t.appendChild(el("tr", {}, ...head.map(function (h, i) { return el("th", numeric && numeric(i) ? { class: "n" } : {}, h); })));
    rows.forEach(function (row) {
      t.appendChild(el("tr", {}, ...row.map(function (cell, i) { return el("td", numeric && numeric(i) ? { class: "n" } : {}, cell); })));
    });
    return el("div", { class: "card" }, t);
  }

  function bytes(v) {
    var units = ["B", "KiB", "MiB", "GiB", "TiB"], i = 0;
    while (v >= 1024 && i < 4) { v /= 1024; i++; }
    return (v >= 100 || i === 0 ? v.toFixed(0) : v.toFixed(1)) + " " + units[i];
  }
  function shown(v, unit) {
    if (unit === "bytes") return bytes(v);
    if (unit === "percent") return v.toFixed(0) + " %";
    if (unit === "seconds") return v < 1 ? (v * 1000).toFixed(0) + " ms" : v.toFixed(2) + " s";
    return v >= 100 || Number.isInteger(v) ? v.toFixed(0) : v.toFixed(1);
  }

  // --- head ---
  add(el("div", { class: "head" },
    el("div", {}, el("h1", {}, r.experiment), el("p", {}, r.description),
      el("p", { class: "dim mono" }, r.run_id + " · seed " + r.seed + " · " + r.target + (r.gpu_simulated ? " · GPU simulated" : "") + " · chaos " + r.chaos_version),
      r.time_scale === 1 ? null : el("p", { class: "dim" }, "Time scale " + r.time_scale + ": the checks speak in the file's times, everything else in the clock's.")),
    el("div", { class: "badge " + r.outcome }, r.outcome.toUpperCase())));
  r.overrides.forEach(function (o) { add(el("p", { class: "dim mono" }, "override: " + o)); });

  var worst = r.checks.filter(function (c) { return c.verdict !== "passed"; });
  worst.sort(function (a, b) { return (a.verdict === "failed" ? 0 : 1) - (b.verdict === "failed" ? 0 : 1); });
  if (r.reason) add(el("div", { class: "why" }, el("b", {}, r.reason)));
  worst.slice(0, 3).forEach(function (c) {
    var box = el("div", { class: "why " + c.verdict }, el("b", {}, c.name + ": "), c.observed);
    if (c.evidence.length) box.appendChild(el("div", { class: "dim" }, c.evidence[0]));
    add(box);
  });

  var j = r.jobs;
  var tiles = [["submitted", j.submitted], ["accepted", j.accepted], ["completed", j.completed], ["rejected", j.rejected], ["invalid", j.invalid], ["failed", j.failed, 1], ["shed", j.shed, 1],
    ["lost", j.lost, 1], ["duplicated", j.duplicated, 1], ["mismatched", j.mismatched, 1], ["abandoned", j.abandoned], ["unknown", j.unknown], ["p95", r.latency.p95_s === null ? "–" : shown(r.latency.p95_s, "seconds")], ["duration", shown(r.duration_s, "seconds")]];
  add(el("div", { class: "tiles" }, ...tiles.map(function (t) {
    return el("div", { class: "tile" + (t[2] && t[1] > 0 ? " bad" : "") }, el("b", {}, t[1]), el("span", {}, t[0]));
  })));

  // --- timeline ---
  heading("Timeline");
  var card = add(el("div", { class: "card" }));
  var W = 1080, L = 64, R = 12, T = 22, H = 92, GAP = 12;
  var panels = data.panels.slice();
  panels.splice(1, 0, { title: "Latency of every job", unit: "seconds", jobs: true, lines: [] });
  var height = T + panels.length * (H + T + GAP) + 22;
  var svg = el("svg", { viewBox: "0 0 " + W + " " + height, role: "img", "aria-label": "Timeline of the run" });
  card.appendChild(svg);
  var end = Math.max(data.end, 0.001);
  function x(t) { return L + (W - L - R) * t / end; }

  data.bands.forEach(function (b) {
    var x0 = x(b.from), width = Math.max(x(b.until) - x0, 2);
    svg.appendChild(el("rect", { class: "band", x: x0, y: T, width: width, height: height - T - 22 }));
    svg.appendChild(el("line", { class: "bandedge", x1: x0, x2: x0, y1: T, y2: height - 22 }));
    svg.appendChild(el("text", { class: "bandname", x: x0 + 4, y: 13 }, b.name));
  });

  function axes(top, max, unit) {
    [0, 0.5, 1].forEach(function (share) {
      var y = top + H - H * share;
      svg.appendChild(el("line", { class: "axis", x1: L, x2: W - R, y1: y, y2: y }));
      svg.appendChild(el("text", { x: L - 6, y: y + 4, "text-anchor": "end" }, shown(max * share, unit)));
    });
  }
  function peak(panel) {
    var max = 0;
    if (panel.jobs) data.jobs.forEach(function (job) { if (job[3] !== null) max = Math.max(max, job[3] - job[2]); });
    panel.lines.forEach(function (line) { line.points.forEach(function (p) { max = Math.max(max, p[1]); }); });
    return max > 0 ? max : 1;
  }
  // The next round number, in the panel's own unit.
  function round(max, unit) {
    if (unit === "percent") return max <= 100 ? 100 : Math.ceil(max / 100) * 100;
    var base = unit === "bytes" ? Math.pow(1024, Math.floor(Math.log(max) / Math.log(1024))) : 1;
    var scaled = max / base, power = Math.pow(10, Math.floor(Math.log10(scaled)));
    var steps = [1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10];
    for (var i = 0; i < steps.length; i++) if (steps[i] * power >= scaled) return steps[i] * power * base;
    return max;
  }
  var faults = data.bands.map(function (b) { return b.name; });
  panels.forEach(function (panel, at) {
    var top = T + at * (H + T + GAP) + T;
    panel.top = top;
    panel.max = round(peak(panel), panel.unit);
    svg.appendChild(el("text", { class: "title", x: L, y: top - 7 }, panel.title));
    axes(top, panel.max, panel.unit);
    function y(v) { return top + H - H * v / panel.max; }
    if (panel.jobs) {
      data.jobs.forEach(function (job) {
        var ended = job[3] !== null, bad = job[4] !== "completed" && job[4] !== "rejected";
        var cls = "job" + (bad ? " bad" : faults.indexOf(job[1]) >= 0 ? " fault" : "") + (job[5] > 1 ? " retried" : "");
        svg.appendChild(el("circle", { class: cls, cx: x(ended ? job[3] : job[2]), cy: ended ? y(job[3] - job[2]) : top + 4, r: bad || job[5] > 1 ? 3 : 2.2 }));
      });
    }
    var offset = L + 24 + panel.title.length * 7;
    panel.lines.forEach(function (line, index) {
      var d = "", last = null;
      line.points.forEach(function (p) {
        d += last === null ? "M" + x(p[0]).toFixed(1) + " " + y(p[1]).toFixed(1) : "H" + x(p[0]).toFixed(1) + "V" + y(p[1]).toFixed(1);
        last = p;
      });
      if (last !== null) d += "H" + x(end).toFixed(1);
      svg.appendChild(el("path", { class: "line l" + index % 3, d: d }));
      if (panel.lines.length > 1) {
        svg.appendChild(el("text", { class: "k" + index % 3, x: offset, y: top - 7 }, line.label));
        offset += line.label.length * 6 + 18;
      }
    });
  });
  data.marks.forEach(function (m) {
    svg.appendChild(el("line", { class: "mark " + m.kind, x1: x(m.t), x2: x(m.t), y1: T - 6, y2: T + 5 }));
  });
  var step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600].filter(function (s) { return end / s <= 14; })[0] || end;
  for (var t = 0; t <= end; t += step) {
    svg.appendChild(el("text", { x: x(t), y: height - 6, "text-anchor": t === 0 ? "start" : "middle" }, (step < 1 ? t.toFixed(1) : t.toFixed(0)) + " s"));
  }
  card.appendChild(el("p", { class: "legend" }, "Blue: the load's jobs. Orange: a fault's own jobs. Ringed: tried more than once. Red: not completed as it should be. Shaded: a fault is at work or being worked off. Red ticks at the top: out-of-memory, the end of a process, a guard."));

  // --- hover ---
  var tip = el("div", { id: "tip" });
  document.body.appendChild(tip);
  var cursor = el("line", { class: "cursor", y1: T, y2: height - 22, x1: -9, x2: -9 });
  svg.appendChild(cursor);
  function valueAt(points, t) {
    var low = 0, high = points.length;
    while (low < high) { var middle = (low + high) >> 1; if (points[middle][0] <= t) low = middle + 1; else high = middle; }
    return low > 0 ? points[low - 1][1] : null;
  }
  function hover(event) {
    var box = svg.getBoundingClientRect();
    var sx = (event.clientX - box.left) * W / box.width;
    var t = (sx - L) / (W - L - R) * end;
    if (t < 0 || t > end) return leave();
    cursor.setAttribute("x1", sx); cursor.setAttribute("x2", sx);
    tip.textContent = "";
    tip.appendChild(el("div", {}, el("b", {}, t.toFixed(2) + " s")));
    data.phases.filter(function (p) { return p.t <= t; }).slice(-1).forEach(function (p) { tip.appendChild(el("div", { class: "dim" }, "phase " + p.phase)); });
    data.bands.forEach(function (b) { if (b.from <= t && t <= b.until) tip.appendChild(el("div", {}, "fault " + b.name)); });
    panels.forEach(function (panel) {
      panel.lines.forEach(function (line) {
        var v = valueAt(line.points, t);
        if (v !== null) tip.appendChild(el("div", {}, line.label + ": " + shown(v, panel.unit)));
      });
    });
    var near = data.jobs.filter(function (job) { return job[3] !== null && Math.abs(job[3] - t) < end / 250; }).slice(0, 4);
    near.forEach(function (job) { tip.appendChild(el("div", { class: "dim" }, "job " + job[0] + " (" + job[1] + ") " + job[4] + ", " + shown(job[3] - job[2], "seconds") + (job[5] > 1 ? ", " + job[5] + " attempts" : "") + (job[6] ? ", cold" : ""))); });
    data.marks.filter(function (m) { return Math.abs(m.t - t) < end / 250; }).slice(0, 2).forEach(function (m) { tip.appendChild(el("div", {}, m.text)); });
    tip.style.display = "block";
    var left = event.clientX + 16, width = tip.offsetWidth;
    tip.style.left = (left + width > window.innerWidth ? event.clientX - width - 16 : left) + "px";
    tip.style.top = Math.min(event.clientY + 12, window.innerHeight - tip.offsetHeight - 8) + "px";
  }
  function leave() { tip.style.display = "none"; cursor.setAttribute("x1", -9); cursor.setAttribute("x2", -9); }
  svg.addEventListener("pointermove", hover);
  svg.addEventListener("pointerleave", leave);

  // --- cold and warm ---
  if (data.cold) {
    heading("Cold and warm");
    var CH = 150, bars = data.cold.bars, top = 1.15 * Math.max.apply(null, bars.map(function (b) { return b[1]; }).concat(data.cold.warm_s));
    var strip = el("svg", { viewBox: "0 0 " + W + " " + (CH + 34), role: "img", "aria-label": "Every job's time on the worker, cold and warm" });
    var bw = (W - L - R) / bars.length;
    function by(v) { return 8 + CH - CH * v / top; }
    bars.forEach(function (b, i) {
      strip.appendChild(el("rect", { class: "bar " + b[2], x: (L + i * bw + 0.5).toFixed(1), width: Math.max(bw - 1, 1).toFixed(1), y: by(b[1]).toFixed(1), height: (8 + CH - by(b[1])).toFixed(1) },
        el("title", {}, b[2] + ", " + shown(b[1], "seconds") + ", ended at " + b[0].toFixed(1) + " s")));
    });
    strip.appendChild(el("line", { class: "usual", x1: L, x2: W - R, y1: by(data.cold.warm_s), y2: by(data.cold.warm_s) }));
    strip.appendChild(el("text", { x: L - 6, y: by(data.cold.warm_s) + 4, "text-anchor": "end" }, data.cold.warm));
    data.cold.episodes.forEach(function (e) {
      var at = bars.findIndex(function (b) { return b[0] >= e.from; });
      if (at < 0) return;
      var ex = L + at * bw;
      strip.appendChild(el("line", { class: "bandedge", x1: ex, x2: ex, y1: 2, y2: CH + 14 }));
      strip.appendChild(el("text", { class: "bandname", x: ex + 4 > W / 2 ? W - R : ex + 4, y: CH + 28, "text-anchor": ex + 4 > W / 2 ? "end" : "start" }, e.cold === null ? "no cold job" : "cold " + e.cold + " (" + e.ratio.toFixed(1) + " times warm)" + (e.warm_after ? ", warm again after " + e.warm_after : ", not warm again")));
    });
    add(el("div", { class: "card" }, strip, el("p", { class: "legend" }, "Each bar is a job's time on the worker, in the order of their ends. Dark: cold, by the target's own word or by its time, also for jobs that waited for the same model. Grey: from before the restart, its end heard of after it. Dashed: the warm baseline. The line: the target was ready again, or its model was dropped.")));
  }

  // --- listeners ---
  if (data.listeners.length) {
    heading("Listeners and their gaps");
    var LH = 18, lanes = data.listeners.slice(0, 60), lane = el("svg", { viewBox: "0 0 " + W + " " + (lanes.length * LH + 26), role: "img", "aria-label": "When each listener was connected" });
    lanes.forEach(function (listener, i) {
      var y = i * LH + 12, from = 0;
      lane.appendChild(el("text", { x: L - 6, y: y + 4, "text-anchor": "end" }, listener.name.slice(-12)));
      listener.losses.forEach(function (loss) {
        lane.appendChild(el("line", { class: "lane", x1: x(from), x2: x(loss.t), y1: y, y2: y }));
        var back = loss.back === null ? end : loss.back;
        var gap = el("rect", { class: "gap" + (loss.back === null ? " never" : ""), x: x(loss.t), width: Math.max(x(back) - x(loss.t), 2), y: y - 5, height: 10 });
        gap.appendChild(el("title", {}, listener.name + ": lost at " + loss.t.toFixed(2) + " s (" + loss.why + "), " + (loss.back === null ? "never back" : "back after " + (loss.back - loss.t).toFixed(2) + " s") + ", " + loss.open.length + " open jobs" + (loss.news ? "; first news: " + loss.news.job + " " + loss.news.state : "; no news")));
        lane.appendChild(gap);
        if (loss.news) lane.appendChild(el("circle", { class: "news", cx: x(loss.news.t), cy: y, r: 2.6 }));
        from = back;
      });
      if (from < end) lane.appendChild(el("line", { class: "lane", x1: x(from), x2: x(end), y1: y, y2: y }));
    });
    for (var lt = 0; lt <= end; lt += step) lane.appendChild(el("text", { x: x(lt), y: lanes.length * LH + 22, "text-anchor": lt === 0 ? "start" : "middle" }, (step < 1 ? lt.toFixed(1) : lt.toFixed(0)) + " s"));
    add(el("div", { class: "card" }, lane, el("p", { class: "legend" }, "A line: connected. A bar: away, red when it never came back. A dot: the first news of an open job after the return." + (data.listeners.length > 60 ? " The first 60 of " + data.listeners.length + "." : ""))));
  }

  // --- tables ---
  heading("Checks");
  add(table(["check", "verdict", "grade", "expected", "observed and evidence"], r.checks.map(function (c) {
    var cell = el("div", {}, c.observed);
    if (c.evidence.length) {
      var more = el("details", c.verdict === "failed" ? { open: "" } : {}, el("summary", {}, c.evidence.length + (c.evidence.length === 1 ? " piece of evidence" : " pieces of evidence")), el("ul", {}, ...c.evidence.map(function (e) { return el("li", { class: "mono" }, e); })));
      cell.appendChild(more);
    }
    return [c.name, el("span", { class: "v " + c.verdict }, c.verdict), c.grade || "–", c.expected, cell];
  })));

  if (r.faults.length) {
    heading("Faults and their three proofs");
    add(table(["fault", "planned", "injected", "over", "before", "during", "after"], r.faults.map(function (f) {
      function at(t) { return t === null ? "–" : t.toFixed(2) + " s"; }
      return [f.name + (f.error ? " — " + f.error : ""), at(f.planned_at_s), at(f.injected_at_s), at(f.over_at_s), f.seen.before || "–", f.seen.during || "–", f.seen.after || "–"];
    })));
  }

  heading("Latency of completed jobs");
  add(el("p", { class: "dim" }, "From the moment that a job should have been sent to its end." + (r.dispatch_delay ? " chaos itself was late by " + shown(r.dispatch_delay.p99_s, "seconds") + " at the 99th percentile." : "")));
  add(table(["load", "phase", "jobs", "mean", "p50", "p95", "p99", "max"], data.latencies, function (i) { return i > 1; }));

  heading("Ledger");
  add(el("p", { class: "dim" }, data.ledger.length ? "Jobs that were not plainly completed, or took more than one attempt (the first 500)." : "Every job was completed at its first attempt."));
  if (data.ledger.length) add(table(["job", "load", "size", "class", "why"], data.ledger));

  heading("Resources");
  add(table(["figure", "mean", "peak", "first", "last"], data.resources, function (i) { return i > 0; }));
  var stages = Object.keys(r.stages).sort(function (a, b) { return r.stages[b] - r.stages[a]; });
  if (stages.length) add(el("p", { class: "legend" }, "Pipeline: " + stages.map(function (s) { return s + " " + (r.stages[s] * 100).toFixed(0) + " %"; }).join(" · ")));

  function list(title, items, none) {
    heading(title);
    add(el("div", { class: "card" }, items.length ? el("ul", {}, ...items.map(function (i) { return el("li", {}, i); })) : none));
  }
  list("Bottlenecks", r.bottlenecks, "The data supports no statement.");
  list("Recommendations", r.recommendations, "None follows from the data.");
  list("Findings", r.findings, "Nothing odd was seen.");
  list("Preflight and notes", r.preflight.map(function (p) { return p.what + ": " + p.level + ", " + p.detail; }).concat(r.notes), "Nothing.");
})();
