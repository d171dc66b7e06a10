"""What a finished search says of each class: one file a method, named by `Method.attribution`."""
