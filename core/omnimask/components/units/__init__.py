"""Units of several ids: n-gram lexicons, pools of annotated units, clusters of ids."""
