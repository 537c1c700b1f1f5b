// The order matters: what is seen first is drawn first.
setUpTheme();
drawScores($("score-plot"));
drawCurves($("curves"));
setUpReview();
setUpVerdicts(redraw);
drawPage();
setUpSorting($("class-table"), (truth) => listClips({ truth }));
setUpMatrix((truth, top, kind) => listClips({ truth, top, split: kind === "test" ? "t" : "r", scored: kind === "all" ? "" : "1" }));
performance.mark("earmark-ready");
