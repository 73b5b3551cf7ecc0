"""All SQL of the project. `database` holds connections and transactions, each other module one aggregate."""
