from django.db import models


class Order(models.Model):
    """An order, which the worker confirms."""

    item = models.CharField(max_length=80)
    is_confirmed = models.BooleanField(default=False)
