"""GCL's own train.py (github.com/marialeyvallina/generalized_contrastive_loss) as a trial, untouched: 20 lines.

It saves weights after each of its steps, which are epochs, and reads none; it seeds nothing. So its loop is entered
behind the last step that is kept, and each step draws its pairs by a seed of its own. `parts` are variables of its
`train`. What resumes not is `best_metric`: the files `…_best` are then the best since the last start.
"""

import sys

import train as gcl

from vprdist import client

kept = client.checkpoint_folder() / "last.pth"


def steps(first, last, train):
    parts = [train.f_locals[name] for name in ("model", "optimizer", "scheduler")]
    first, *states = gcl.torch.load(kept) if kept.exists() else [first]
    [part.load_state_dict(state) for part, state in zip(parts, states, strict=False)]
    for step in range(first, last):
        gcl.torch.manual_seed(1000 * client.seed() + step), gcl.np.random.seed(1000 * client.seed() + step)
        train.f_locals["dataloader"].dataset.load_pairs()
        yield sys.exit() if client.should_stop() else step
        client.log(step + 1, **train.f_locals["metrics"])
        gcl.torch.save([step + 1, *(part.state_dict() for part in parts)], f"{kept}.new")
        kept.with_name("last.pth.new").replace(kept)


gcl.range = lambda *bounds: range(*bounds) if len(bounds) == 1 else steps(*bounds, sys._getframe(1))
gcl.torch.manual_seed(client.seed()), gcl.np.random.seed(client.seed())
words = {**client.params(), "result_dir": client.folder(), "snapshot_dir": client.folder()}
gcl.train(gcl.TrainParser().parser.parse_args([f"--{name}={value}" for name, value in words.items()]))
client.finish(predictions=client.folder() / "testexp_retrieved.csv")
