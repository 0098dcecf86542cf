"""From the clients' updates to one: every step there is, in the one order that they may have.

::

    on each client     screen ─▶ weight ─▶ clip ─▶ round ─▶ mask ─┐
                                                                  ├─ sum over the slots, or all of them
    on the server      divide ◀── noise ◀── unmask ◀──────────────┘

- *screen*: an update that is not finite everywhere becomes zeros.
- *weight*: what a client counts for: its examples, 1 for an unweighted mean and always under differential privacy,
  where the number of its examples is private too.
- *clip*: the update is at most so long; then it is multiplied by its weight.
- *round*: to 8 bits, or to fixed point for a secure sum. A client's own noise (local privacy) is added before.
- *mask*: see `federated.aggregation.secure_sum`.
- *noise*: of the server, after the round has been charged, see `federated.privacy.ledger`.
- *divide*: by the sum of the weights; under differential privacy by the *expected* size of a cohort, so that neither
  the number of clients who came nor a refused update changes anything but the sum. A round to which nobody came
  releases noise like any other.

The weight travels in the sum, as a leaf of its own behind the update's, beside whether the update was left unclipped.
Of a locally private client both are always 1: they leave it without noise.
Implements `federated.algorithms.definition.Aggregation`.
"""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from federated.aggregation import fixed_point
from federated.aggregation.adaptive_clip import move_clip, split_noise
from federated.aggregation.noise import Shapes, draw_gaussian, draw_local, draw_tree_step
from federated.aggregation.robust import combine_robustly
from federated.aggregation.secure_sum import SecureSum
from federated.aggregation.settings import AggregationSettings, check_combination
from federated.algorithms.definition import CohortResult, Leaves, State
from federated.errors import AbortedRoundError
from federated.privacy.opening import Privacy
from federated.privacy.settings import Sampling

COUNTS = (2,)
"""Shape of the leaf behind the update: weight, and whether the update was left unclipped."""


class Pipeline:
    """One way to aggregate, with what it keeps from round to round: the clip."""

    def __init__(
        self,
        settings: AggregationSettings,
        shapes: Shapes,
        *,
        steps: ModuleType,
        seed: int,
        sampling: Sampling | None = None,
        privacy: Privacy | None = None,
        dtype: type[np.floating[Any]] = np.float32,
    ) -> None:
        """
        Args:
            settings: which steps, and how.
            shapes: of the update's leaves.
            steps: `federated.aggregation.compiled` for an engine, `federated.aggregation.reference` without TensorFlow.
            seed: of the numbers that decide 8-bit rounding; nothing private hangs on it.
            sampling: of a differentially private run, for a process that runs its clients and gets no key.
            privacy: the ledger and the key, for the server of such a run.
            dtype: of the update's leaves.

        Raises:
            AggregationError: the settings contradict each other.
        """
        self._plan = privacy.plan if privacy else None
        self.sampling = self._plan.mechanism.sampling if self._plan else sampling
        check_combination(settings, self.sampling)
        self.stacked = settings.combine != "mean"
        self.clip_bound = settings.clip
        self._settings = settings
        self._shapes = list(shapes)
        self._steps = steps
        self._seed = seed
        self._privacy = privacy
        self._dtype = dtype
        self._private = self.sampling is not None
        self._locally_private = self.sampling == "local"
        self._session: SecureSum | None = None
        self._resolution = 1.0

    def state(self) -> State:
        """What a later process needs to go on: the clip."""
        return {"clip": [np.array(self.clip_bound)]}

    def restore(self, state: State) -> None:
        """Goes on where `state` was read."""
        (clip,) = state["clip"]
        self.clip_bound = float(clip)

    def broadcast(self, number: int) -> Leaves:
        """Charges the round, if privacy is kept, before anything of it happens; returns the clip.

        Raises:
            BudgetError: the round would pass the budget.
        """
        if self._privacy:
            self._privacy.ledger.charge(number)
        return [np.array(self.clip_bound, self._dtype)] if self._settings.clip else []

    def local(self, number: int, clients: Sequence[int], *, silent: int = 0) -> list[Leaves]:
        """What each client of the round gets for itself: its noise, its dither, or its masks and their resolution.

        Raises:
            AbortedRoundError: nobody answers. A private round releases its noise all the same.
        """
        if not (clients or self._private):
            raise AbortedRoundError("none of the clients that were chosen answered.")
        if self._settings.secure_sum:
            return self._open_session(len(clients), silent)
        if self._locally_private:
            deviation = self._plan.noise_multiplier * self.clip_bound
            return [
                self._cast(draw_local(self._privacy.key, number, client, self._shapes, deviation=deviation))
                for client in clients
            ]
        if self._settings.eight_bits:
            return [self._draw_dither(number, client) for client in clients]
        return [[] for _ in clients]

    def client(self, update: Any, weight: Any, broadcast: Any, local: Any) -> tuple[Any, Any, Mapping[str, Any]]:
        """A client's steps, see the module; arrays or tensors, as the steps want."""
        steps, settings = self._steps, self._settings
        update, kept = steps.screen(update)
        refused = {"refused": 1 - kept}
        if self._private:
            weight = kept * 0 + 1
        elif self.stacked or not settings.weighted:
            weight = kept
        else:
            weight = kept * (steps.limit(weight, settings.weight_cap) if settings.secure_sum else weight)
        under = kept
        if settings.clip:
            update, short = steps.clip(update, broadcast[0])
            under = kept * short
        if self._locally_private:
            update, under = steps.add(update, local), weight
        if self.stacked:
            return steps.quantise(update, local) if settings.eight_bits else update, weight, refused
        update = steps.scale(update, weight)
        if settings.eight_bits:
            update = steps.quantise(update, local)
        counts = steps.stack([weight, under])
        if not settings.secure_sum:
            return [*update, counts], weight, refused
        *masks, resolution = local
        encoded = [*steps.encode(update, resolution), *steps.encode([counts], resolution * 0 + 1)]
        # The weight is in the sum and nowhere else: outside it every client that arrives counts once.
        return steps.add(encoded, masks), kept * 0 + 1, refused

    def server(self, result: CohortResult, number: int) -> Leaves:
        """The server's steps, see the module.

        Raises:
            AbortedRoundError: too few clients for a secure sum or a robust mean.
        """
        if self.stacked:
            return self._combine(result)
        if self._settings.secure_sum:
            *total, counts = self._unmask(result)
        elif result.total:
            *total, counts = [np.asarray(leaf, np.float64) for leaf in result.total]
        else:
            total, counts = [np.zeros(shape) for shape in self._shapes], np.zeros(COUNTS)
        weight, unclipped = counts
        clients = float(np.count_nonzero(result.weights))
        if self._plan:
            total, unclipped = self._add_noise(total, unclipped - clients / 2, number)
            weight = clients = self._plan.mechanism.cohort
            unclipped += clients / 2
        if self._settings.clip_quantile and clients:
            self.clip_bound = move_clip(self.clip_bound, unclipped / clients, self._settings.clip_quantile)
        return self._cast([leaf / weight if weight else leaf for leaf in total])

    def _add_noise(self, total: Leaves, count: float, number: int) -> tuple[Leaves, float]:
        """Noise for the sum and, where the clip adapts, for the count of unclipped updates."""
        key, plan = self._privacy.key, self._plan
        if self._locally_private:
            return total, count
        multiplier = plan.noise_multiplier
        if self._settings.clip_quantile:
            multiplier, count_deviation = split_noise(multiplier, plan.mechanism.cohort)
            count += count_deviation * key.stream("count", number).standard_normal()
        deviation = multiplier * self.clip_bound
        if plan.mechanism.sampling == "tree":
            trees = plan.mechanism.tree_rounds
            noise = draw_tree_step(key, number, self._shapes, deviation=deviation, tree_rounds=trees)
        else:
            noise = draw_gaussian(key, number, self._shapes, deviation=deviation)
        return [leaf + part for leaf, part in zip(total, noise, strict=True)], count

    def _combine(self, result: CohortResult) -> Leaves:
        present = result.weights > 0
        if not present.any():
            return self._cast([np.zeros(shape) for shape in self._shapes])
        return self._cast(self._split(combine_robustly(result.stack[present], self._settings), self._shapes))

    def _open_session(self, clients: int, silent: int) -> list[Leaves]:
        """Keys and masks of everybody who begins the round; those who never answer have the last slots."""
        if not clients:
            self._session = None
            return []
        shapes = [*self._shapes, COUNTS]
        size, begin = sum(int(np.prod(shape)) for shape in shapes), clients + silent
        self._session = SecureSum(clients=begin, threshold=self._settings.secure_threshold, size=size)
        # Who came must not decide how coarsely the others are rounded: one client more would move all of them.
        most = self._plan.cohort_cap if self._plan else begin
        self._resolution = fixed_point.choose_resolution(
            clients=most, weight_cap=self._heaviest(), clip=self.clip_bound
        )
        resolution = np.array(self._resolution, self._dtype)
        return [[*self._split(mask.view(np.int32), shapes), resolution] for mask in self._session.masks[:clients]]

    def _unmask(self, result: CohortResult) -> Leaves:
        if self._session is None:
            return [*(np.zeros(shape) for shape in self._shapes), np.zeros(COUNTS)]
        masked = np.concatenate([np.asarray(leaf, np.int32).ravel() for leaf in result.total])
        silent = len(self._session.masks) - len(result.weights)
        arrived = [*(result.weights > 0).tolist(), *[False] * silent]
        plain = self._session.unmask(masked.view(np.uint32), arrived).view(np.int32)
        *total, counts = self._split(plain, [*self._shapes, COUNTS])
        return [*(fixed_point.decode(leaf, self._resolution) for leaf in total), counts.astype(np.float64)]

    def _heaviest(self) -> int:
        """What a client of a secure sum counts at most."""
        return 1 if self._private or not self._settings.weighted else self._settings.weight_cap

    def _draw_dither(self, number: int, client: int) -> Leaves:
        random = np.random.default_rng([self._seed, number, client])
        return [random.random(shape, np.float32).astype(self._dtype) for shape in self._shapes]

    def _split(self, flat: np.ndarray, shapes: Shapes) -> Leaves:
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
        return [part.reshape(shape) for part, shape in zip(np.split(flat, ends), shapes, strict=True)]

    def _cast(self, leaves: Leaves) -> Leaves:
        return [np.asarray(leaf, self._dtype) for leaf in leaves]
