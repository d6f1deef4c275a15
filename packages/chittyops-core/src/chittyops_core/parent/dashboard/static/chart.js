"use strict";
// Draws the opened metric from the table beside it, in the colours of the style sheet.
(() => {
  const place = document.getElementById("plot");
  if (!place) return;
  const table = document.getElementById("samples");
  const times = [], values = [];
  for (const row of table.tBodies[0].rows) {
    times.push(Number(row.dataset.at));
    values.push(row.dataset.v === "" ? null : Number(row.dataset.v));
  }
  const marks = (place.dataset.marks || "").split(" ").filter(Boolean).map(Number);
  let plot = null;

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  }

  function drawMarks(chart) {
    const { ctx, bbox } = chart;
    ctx.save();
    ctx.strokeStyle = colour("soft");
    ctx.setLineDash([4, 4]);
    for (const at of marks) {
      const x = chart.valToPos(at, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  function told(value) {
    return Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 }).format(value);
  }

  function draw() {
    plot?.destroy();
    const axis = {
      stroke: colour("soft"),
      grid: { stroke: colour("line"), width: 1 },
      ticks: { stroke: colour("line"), width: 1 },
      font: `12px ${getComputedStyle(document.body).fontFamily}`,
    };
    plot = new uPlot({
      width: place.clientWidth,
      height: 240,
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
      scales: { x: { range: [Number(place.dataset.since), Number(place.dataset.until)] } },
      axes: [
        { ...axis, values: [
          [86400, "{D} {MMM}", null, null, null, null, null, null, 1],
          [3600, "{HH}:{mm}", "\n{D} {MMM}", null, "\n{D} {MMM}", null, null, null, 1],
          [1, "{HH}:{mm}", "\n{D} {MMM}", null, "\n{D} {MMM}", null, null, null, 1],
        ] },
        { ...axis, size: 64, values: (_, ticks) => ticks.map(told) },
      ],
      cursor: { points: { fill: colour("accent") } },
      series: [
        { label: "Time (UTC)", value: "{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}" },
        {
          label: place.dataset.name,
          stroke: colour("accent"),
          width: 2,
          fill: colour("info-tint"),
          points: { show: times.length < 60, size: 5, fill: colour("accent") },
        },
      ],
      hooks: { draw: [drawMarks] },
    }, [times, values], place);
  }

  document.getElementById("still").hidden = true;
  place.hidden = false;
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: 240 })).observe(place);
})();
