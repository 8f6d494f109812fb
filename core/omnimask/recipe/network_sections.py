"""Sections of networks: further encoders, predictors, and the passes that use both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from omnimask.component import Component
from omnimask.data.view_names import MAIN
from omnimask.recipe import keys
from omnimask.recipe.config import BorrowedEmbeddings, EncoderConfig, PassConfig, PredictorConfig
from omnimask.recipe.document import KeyPath
from omnimask.recipe.options import INVALID
from omnimask.recipe.section_resolver import SectionResolver
from omnimask.training.monitoring.metrics import is_reserved

_FORM = "{name: teacher, view: ..., encoder: ...}"


class NetworkSections(SectionResolver):
    """Resolver of the networks, predictors and passes of one document."""

    def resolve(self, encoder: Component[Any] | None, views: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of ``encoders``, ``passes`` and ``predictors``. Check ``backbone``, too.

        Args:
            encoder: of the network ``main``; None if it has problems.
            views: the additional views by name.
        """
        raw = self._section("encoders", dict)
        encoders = {name: found for name, part in raw.items() if (found := self._encoder(name, part, list(raw))) is not None}
        components = {MAIN: encoder, **{name: part.component for name, part in encoders.items()}}
        passes = self._section("passes", list)
        written = self.data.get("predictors")
        top = self._predictors(enumerate(written) if isinstance(written, list) else (), ("predictors",), encoder)
        in_place = [self._in_place(part, ("passes", index), components) for index, part in enumerate(passes)]
        if (not isinstance(written, list) or not written) and not any(any(found.values()) for found in in_place):
            self.problems.missing(self.document, ("predictors",), "list of predictors: [{name: ..., of: ...}]")
        self._unique(
            [*_placed(("predictors",), top), *(item for index, found in enumerate(in_place) for item in _items(index, found))]
        )
        labels = [part.label for part in (*top.values(), *(one for found in in_place for one in found.values()))]
        resolved = self._passes(passes, in_place, [part.label for part in top.values()], labels, [MAIN, *raw], views, encoders)
        backbone = self.data.get("backbone")
        if isinstance(backbone, str):
            self._one_of(backbone, list(dict.fromkeys([*(part.name for part in resolved), MAIN])), ("backbone",), "pass")
        return {"encoders": encoders, "passes": resolved, "predictors": tuple(top.values())}

    # ---- encoders

    def _encoder(self, name: str, raw: Any, names: Sequence[str]) -> EncoderConfig | None:
        path: KeyPath = ("encoders", name)
        self._name(name, path, "encoder", ())
        if name == MAIN:
            self.problems.add(
                self.document, path, "the network main is the one of encoder: at the top of the recipe; rename this one"
            )
        wired = keys.values(EncoderConfig)
        component = self.resolver.component("encoder", raw, path, apart=(*wired, "embeddings"))
        if not isinstance(raw, Mapping):
            return None
        of = self._of(self.resolver.option(wired["of"], raw, path, "encoders"), path)
        borrowed = None
        if (written := raw.get("embeddings")) is not None:
            earlier = [MAIN, *names[: list(names).index(name)]]
            borrowed = self._borrowed({"of": written} if isinstance(written, str) else written, (*path, "embeddings"), earlier)
            if borrowed is None:
                return None
        return None if component is None or of is None else EncoderConfig(component, of, borrowed)

    def _borrowed(self, raw: Any, path: KeyPath, earlier: Sequence[str]) -> BorrowedEmbeddings | None:
        values = self._options(BorrowedEmbeddings, raw, path, "embeddings", "main, or {of: main, gradient: ...}")
        if values is None:
            return None
        self._one_of(values["of"], earlier, (*path, "of") if (*path, "of") in self.document.places else path, "earlier network")
        return BorrowedEmbeddings(**values)

    # ---- predictors

    def _predictors(
        self, raw: Iterable[tuple[int, Any]], path: KeyPath, encoder: Component[Any] | None
    ) -> dict[int, PredictorConfig]:
        """Return the predictors written in a list, by index."""
        found = {index: self._predictor(value, (*path, index), encoder) for index, value in raw}
        return {index: part for index, part in found.items() if part is not None}

    def _in_place(self, raw: Any, path: KeyPath, components: Mapping[str, Component[Any] | None]) -> dict[int, PredictorConfig]:
        """Return the predictors written in a pass, by index."""
        if not isinstance(raw, Mapping) or not isinstance(written := raw.get("predictors"), list):
            return {}
        encoder = raw.get("encoder") or MAIN
        in_place = ((index, value) for index, value in enumerate(written) if not isinstance(value, str))
        return self._predictors(in_place, (*path, "predictors"), components.get(encoder) if isinstance(encoder, str) else None)

    def _unique(self, placed: Sequence[tuple[KeyPath, PredictorConfig]]) -> None:
        places: dict[str, KeyPath] = {}
        for path, predictor in placed:
            if is_reserved(predictor.label):
                message = f"{predictor.label!r} is a reserved key of metrics.jsonl; choose another label"
                self.problems.add(self.document, (*path, "label"), message)
            if "." in predictor.label:
                self.problems.add(self.document, (*path, "label"), f"{predictor.label!r} contains a dot; labels of losses must not")
            if (first := places.setdefault(predictor.label, path)) != path:
                message = f"{predictor.label!r} is also the label of {'.'.join(map(str, first))}; set a unique label: ..."
                self.problems.add(self.document, (*path, "label"), message)

    def _predictor(self, raw: Any, path: KeyPath, encoder: Component[Any] | None) -> PredictorConfig | None:
        wired = keys.values(PredictorConfig)
        component = self.resolver.component("predictor", raw, path, apart=tuple(wired))
        if not isinstance(raw, Mapping):
            return None
        wiring = {name: self.resolver.option(option, raw, path, "predictors") for name, option in wired.items()}
        of = self._of(wiring["of"], path)
        layer, label, query = wiring["layer"], wiring["label"], wiring["query"]
        depth = encoder.options.get("depth") if encoder is not None else None
        if isinstance(layer, int) and isinstance(depth, int) and layer > depth:
            self.problems.add(self.document, (*path, "layer"), f"the encoder has {depth} layers; layer {layer} does not exist")
        if component is None or of is None or INVALID in wiring.values():
            return None
        views = self.data.get("views")
        if query is not None:
            known = [view for view in views if view != MAIN] if isinstance(views, Mapping) else []
            self._one_of(query, known, (*path, "query"), "view")
        return PredictorConfig(component, of, layer, wiring["weight"], label or component.name.replace(".", "_"), query)

    # ---- passes

    def _passes(
        self,
        raw: Sequence[Any],
        in_place: Sequence[Mapping[int, PredictorConfig]],
        top: Sequence[str],
        labels: Sequence[str],
        networks: Sequence[str],
        views: Mapping[str, Any],
        encoders: Mapping[str, EncoderConfig],
    ) -> tuple[PassConfig, ...]:
        """Return the passes in order. ``top`` labels of the recipe's own predictors, ``labels`` of all."""
        found: list[PassConfig] = []
        for index, part in enumerate(raw):
            path: KeyPath = ("passes", index)
            values = self._options(PassConfig, part, path, "a pass", _FORM, ("predictors",))
            if values is None:
                continue
            name = values["name"]
            self._name(name, path, "pass", ())
            if name in [other.name for other in found]:
                self.problems.add(self.document, (*path, "name"), f"{name!r} is already the name of a pass")
            self._one_of(values["view"], list(dict.fromkeys([MAIN, *views])), (*path, "view"), "view")
            encoder = values["encoder"] or MAIN
            self._one_of(encoder, networks, (*path, "encoder"), "encoder")
            earlier = [other.name for other in found]
            inputs = self._earlier(values["input"], earlier, (*path, "input"))
            if values["context"] is not None:
                self._one_of(values["context"], earlier, (*path, "context"), "earlier pass")
            replace = (
                None if part.get("replace") is None else self.resolver.component("replacer", part["replace"], (*path, "replace"))
            )
            is_trained = name == MAIN or (values["encoder"] is not None and not _follows(encoders.get(encoder)))
            grad = is_trained if values["grad"] is None else values["grad"]
            default = list(top) if name == MAIN or (encoder == MAIN and not grad) else []
            used = self._used(part.get("predictors"), in_place[index], default, labels, (*path, "predictors"))
            found.append(PassConfig(name, values["view"], encoder, grad, inputs, values["context"], replace, used))
        return tuple(found)

    def _earlier(self, value: Any, earlier: Sequence[str], path: KeyPath) -> tuple[str, ...]:
        names = [] if value is None else [value] if isinstance(value, str) else value
        for name in names:
            self._one_of(name, earlier, path, "earlier pass")
        return tuple(names)

    def _used(
        self, raw: Any, in_place: Mapping[int, PredictorConfig], default: Sequence[str], labels: Sequence[str], path: KeyPath
    ) -> tuple[str | PredictorConfig, ...]:
        """Return the predictors of a pass: labels, and those written there."""
        if raw is None:
            return tuple(default)
        if not isinstance(raw, list):
            self.problems.add(self.document, path, "must be a list of predictors, or of their labels")
            return ()
        for item in raw:
            if isinstance(item, str):
                self._one_of(item, labels, path, "predictor")
        return tuple(
            item if isinstance(item, str) else in_place[index]
            for index, item in enumerate(raw)
            if isinstance(item, str) or index in in_place
        )


def _follows(encoder: EncoderConfig | None) -> bool:
    """Return whether an encoder's class declares that it has no weights to train."""
    return encoder is not None and getattr(encoder.component.cls, "is_trained", True) is False


def _placed(path: KeyPath, found: Mapping[int, PredictorConfig]) -> list[tuple[KeyPath, PredictorConfig]]:
    return [((*path, index), part) for index, part in found.items()]


def _items(index: int, found: Mapping[int, PredictorConfig]) -> list[tuple[KeyPath, PredictorConfig]]:
    return _placed(("passes", index, "predictors"), found)
