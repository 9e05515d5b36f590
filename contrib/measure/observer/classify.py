# Trains classifiers on windows and scores those held out, with scikit-learn.
# Reads from standard input, and writes to standard output, what classify.go says.
import json
import sys

try:
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
except ImportError as e:
    sys.exit("%s has no scikit-learn (%s): install it, on Debian with apt install python3-sklearn" % (sys.executable, e))


def classifiers():
    yield "forest", RandomForestClassifier(n_estimators=300, min_samples_leaf=5, n_jobs=-1, random_state=1)
    yield "logistic", make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=5000))


def main():
    job = json.load(sys.stdin)
    out = []
    for task in job:
        rows, labels = np.array(task["train"]), np.array(task["labels"])
        held = np.array(task["held"])
        scores = {}
        for name, c in classifiers():
            c.fit(rows, labels)
            scores[name] = c.predict_proba(held)[:, 1].tolist()
        out.append(scores)
    json.dump(out, sys.stdout)


main()
