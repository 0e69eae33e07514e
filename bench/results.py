"""What a benchmark says: named figures, and ratios against a peer of the same run."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Result:
    """``goal`` is text for people; ``met`` is None where there is none."""

    name: str
    figure: str
    peer: str = ""
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None


@dataclass
class Table:
    """Results of one benchmark, printed as the Markdown of docs/performance.md."""

    title: str
    results: list[Result] = field(default_factory=list)

    def add(
        self,
        name: str,
        figure: str,
        *,
        peer: str = "",
        ratio: float | None = None,
        goal: str = "",
        met: bool | None = None,
    ) -> None:
        self.results.append(Result(name, figure, peer, ratio, goal, met))
        print(f"  {name}: {figure}" + (f" (peer {peer}, ratio {ratio:.2f})" if ratio else ""))

    def markdown(self) -> str:
        rows = [f"### {self.title}", "| what | here | peer in the same run | ratio | goal |"]
        rows.append("|---|---|---|---|---|")
        for result in self.results:
            ratio = "" if result.ratio is None else f"{result.ratio:.2f}"
            met = {None: "", True: " (met)", False: " (missed)"}[result.met]
            goal = result.goal + met if result.goal else ""
            rows.append(f"| {result.name} | {result.figure} | {result.peer} | {ratio} | {goal} |")
        return "\n".join(rows) + "\n"
