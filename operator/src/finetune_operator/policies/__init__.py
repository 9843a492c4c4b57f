"""One policy, one module: each looks at one aspect of a job and concludes a step or actions. All are pure."""
