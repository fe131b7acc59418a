"""The panel in the browser: who may, what they see, what they ask for. Rules live below, in runs and catalog."""
