"""What operators do with what needs a person: look, plan, replay, edit, set aside, send again."""
